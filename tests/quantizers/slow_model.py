"""The quantizers once more, written from the specification in plain NumPy, one element-wise step a line.

Nothing here is shared with linger_jax: no threshold table (the logarithm is computed in float64 and rounded), no fused
kernel, no JAX. Only the description of a quantizer (QuantizerSpec) is taken over.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from linger_jax.config import ActivationType, Compat, QatMethod, QuantMethod, RoundMode
from linger_jax.quantizers import QuantizerKind, QuantizerSpec

f32 = np.float32
LN2 = float(np.log(2.0))


@dataclasses.dataclass
class Result:
    """What one call gives: output, state, and the gradients for a cotangent."""

    y: np.ndarray
    state: dict[str, np.ndarray]
    d_x: np.ndarray | None = None
    d_threshold: float = 0.0


def train(
    spec: QuantizerSpec,
    x: np.ndarray,
    state: dict[str, np.ndarray],
    cotangent: np.ndarray,
    given_scale: float | None = None,
    min_scale: float | None = None,
    clip: float | None = None,
) -> Result:
    """docs/specification/quantizers.md sections 3 to 6, 8 and 10."""
    state = dict(state)
    clipped = x if clip is None else np.clip(x, f32(-clip), f32(clip))
    in_clip = np.ones(x.shape, bool) if clip is None else (x >= f32(-clip)) & (x <= f32(clip))
    learns = False
    if given_scale is not None:
        scale = f32(given_scale)
        if not (spec.quant_method is QuantMethod.CUDA_GS and spec.compat is Compat.reference):
            scale = np.clip(scale, f32(1), f32(2**23))
        if min_scale is not None and scale > min_scale and not kernel_rules(spec):
            scale = f32(min_scale)
    else:
        if spec.qat_method is QatMethod.MOM:
            state["running_data"] = statistic(spec, clipped, state)
            state["is_init"] = np.array(True)
            log2 = f32(np.log2(np.float64(state["running_data"])))
        else:
            log2 = state["learning_data"][0]
        t = f32(f32(spec.bits - 1) - log2)
        if not np.isfinite(t):
            scale = f32(np.nan)
        else:
            exponent = half_away(float(t)) if kernel_rules(spec) else float(np.rint(t))
            learns = 0 <= exponent <= 23
            scale = f32(2.0 ** min(max(exponent, 0), 23))
        limited = min_scale is not None and scale > min_scale
        if limited:
            scale = f32(min_scale)
        learns = learns and not limited
        if spec.quant_method is QuantMethod.CUDA_GS:
            learns = True
        learns = learns and spec.qat_method is QatMethod.TQT and spec.quant_method is not QuantMethod.CUDA
    state["scale"] = np.asarray(scale)
    y, passes = fake(spec, clipped, scale, kernel_rules(spec))
    d_threshold = 0.0
    if learns:
        terms = np.where(passes, clipped - y, -y).astype(np.float64)
        d_threshold = -LN2 * float(np.sum(cotangent.astype(np.float64) * terms))
    return Result(y, state, np.where(passes & in_clip, cotangent, f32(0)), d_threshold)


def evaluate(
    spec: QuantizerSpec, x: np.ndarray, state: dict[str, np.ndarray], min_scale: float | None = None
) -> Result:
    """docs/specification/quantizers.md sections 7 and 8, its last row."""
    if spec.quant_method is QuantMethod.CUDA:
        return Result(fake(spec, x, f32(state["scale"]), True)[0], dict(state))
    scale = np.clip(f32(state["scale"]), f32(1), f32(2**23))
    if min_scale is not None and scale > min_scale:
        scale = f32(min_scale)
    return Result(fake(spec, x, scale, False)[0], {**state, "scale": np.asarray(scale)})


def statistic(spec: QuantizerSpec, x: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    """docs/specification/quantizers.md section 3.1."""
    relu = spec.activation_type is ActivationType.Relu
    a = np.maximum(np.max(x if relu else np.abs(x)), f32(1e-6))
    if not state["is_init"]:
        return np.asarray(a)
    return np.asarray(f32(f32(f32(0.9) * state["running_data"]) + f32(f32(0.1) * a)))


def fake(spec: QuantizerSpec, x: np.ndarray, scale: np.float32, kernel: bool) -> tuple[np.ndarray, np.ndarray]:
    """Output, and where the gradient passes (docs/specification/quantizers.md sections 1 and 8)."""
    low, high = f32(-(2.0 ** (spec.bits - 1))), f32(2.0 ** (spec.bits - 1) - 1)
    with np.errstate(invalid="ignore", over="ignore"):
        v = (x * scale).astype(f32)
        if kernel:
            q = np.clip(np.floor((v + f32(0.5)).astype(f32)), low, high)
            return (q / scale).astype(f32), ~((q == low) | (q == high))
        mode = spec.round_mode if spec.kind is QuantizerKind.activation else RoundMode.round
        r = {
            RoundMode.floor_add: lambda: np.floor((v + f32(0.5)).astype(f32)),
            RoundMode.floor: lambda: np.floor(v),
            RoundMode.round: lambda: np.rint(v),
            RoundMode.ceil: lambda: np.rint(v),
        }[mode]()
        r = ((r - v) + v).astype(f32)
        return (np.clip(r, low, high) / scale).astype(f32), (r >= low) & (r <= high)


def kernel_rules(spec: QuantizerSpec) -> bool:
    """Whether training follows docs/specification/quantizers.md section 8."""
    return spec.quant_method in (QuantMethod.CUDA, QuantMethod.CUDA_GS)


def half_away(t: float) -> float:
    """Nearest integer, ties away from zero."""
    return float(np.copysign(np.floor(abs(t) + 0.5), t))


def fresh(spec: QuantizerSpec) -> dict[str, np.ndarray]:
    """docs/specification/quantizers.md section 2."""
    state: dict[str, np.ndarray] = {"scale": np.asarray(f32(1))}
    if spec.qat_method is QatMethod.MOM:
        state |= {"running_data": np.asarray(f32(0)), "is_init": np.array(False)}
    else:
        state |= {"learning_data": np.full(1, 2.1, f32), "is_calibrate": np.array(False)}
    if spec.kind is QuantizerKind.weight:
        state["is_init_mom_clamp_weight"] = np.array(False)
    return state

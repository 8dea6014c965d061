"""Replays golden files of the family ``quantizer`` under ``compat: reference``.

Source: docs/specification/quantizers.md, docs/specification/config.md section 4.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.config import ActivationType, Compat, QatMethod, QuantMethod, RoundMode
from linger_jax.numerics.scale_rule import SMALLEST_STATISTIC, scale_of_statistic
from linger_jax.quantizers import (
    THRESHOLD,
    QuantizerKind,
    QuantizerSpec,
    State,
    calibrate,
    clamp_weight_once,
    quantize,
)
from linger_jax.quantizers.quantize import exponent_ties
from tests.golden import compare
from tests.golden.outcome import NotSupportedError

Arrays = Mapping[str, np.ndarray]

_LENGTH = 64
"""Evaluation is elementwise: tensors are padded to a multiple of this, and files share a compiled program."""

_KINDS = {
    "AQuantizer": QuantizerKind.activation,
    "A": QuantizerKind.activation,
    "WQuantizer": QuantizerKind.weight,
    "W": QuantizerKind.weight,
    "BQuantizer": QuantizerKind.bias,
    "B": QuantizerKind.bias,
}


def replay(case: Arrays, meta: Mapping[str, Any]) -> list[str]:
    """Mismatches of one file; empty when it passes.

    Raises:
      NotSupportedError: a kind or mode of case that is not known.
    """
    if meta["op"] == "scale_rule":
        return _replay_scale_rule(case, meta)
    name, x = _operand(case)
    if meta["mode"] == "train":
        return _replay_training(case, meta, name, x)
    if meta["mode"] == "eval":
        return _replay_evaluation(case, meta, x)
    if meta["mode"] == "calibrate":
        return _replay_calibration(case, meta, name, x)
    raise NotSupportedError(f"quantizer case of mode {meta['mode']!r}")


def specification(meta: Mapping[str, Any]) -> QuantizerSpec:
    """The quantizer that a file is about."""
    kind = _KINDS.get(meta["quantizer"] if meta["op"] == "calibrate" else meta["op"])
    if kind is None:
        raise NotSupportedError(f"quantizer case of kind {meta['op']!r}")
    info, clamps = meta["config"]["quant_info"], meta["config"]["clamp_info"]
    activation = kind is QuantizerKind.activation
    static = {
        QuantizerKind.activation: clamps["clamp_activation_value"],
        QuantizerKind.weight: clamps["clamp_weight_value"],
        QuantizerKind.bias: clamps["clamp_bias_value"],
    }[kind]
    return QuantizerSpec(
        kind=kind,
        bits=int(meta["bits"]),
        round_mode=RoundMode((meta.get("round_mode") or info["round_mode"]) if activation else "round"),
        qat_method=QatMethod(meta["method"]),
        quant_method=QuantMethod(meta["config"]["quant_method"]),
        activation_type=ActivationType(meta.get("activation_type") or "none"),
        clamp_value=static,
        clamp_factor=clamps["clamp_factor_value"] if kind is QuantizerKind.weight else None,
        calibrate_name=meta.get("calibrator") or info["a_calibrate_name" if activation else "w_calibrate_name"],
        compat=Compat.reference,
    )


def _replay_scale_rule(case: Arrays, meta: Mapping[str, Any]) -> list[str]:
    given = case["in.running_data"] if "in.running_data" in case else case["in.abs_max"]
    ties = exponent_ties(QuantMethod(meta["config"]["quant_method"]))
    scale = scale_of_statistic(jnp.maximum(jnp.asarray(given), SMALLEST_STATISTIC), int(meta["bits"]), ties)
    return compare.same_bits("out.scale", scale, case["out.scale"])


def _replay_training(case: Arrays, meta: Mapping[str, Any], name: str, x: np.ndarray) -> list[str]:
    spec = _without(specification(meta), "calibrate_name")
    y, weight, state, d_x, d_threshold = _train(
        spec, x, _state(case, "state0"), case["cot.y"], _scalar(meta, "given_scale"), _scalar(meta, "min_scale")
    )
    wrong = compare.same_bits("out.y", y, case["out.y"]) + _compare_states(state, _state(case, "state"))
    wrong += compare.gradients(f"grad.{name}", d_x, case[f"grad.{name}"])
    if spec.qat_method is QatMethod.TQT:
        key = next((key for key in case if key.startswith("grad.state.") and key.endswith(THRESHOLD)), None)
        golden = np.zeros(1, np.float32) if key is None else case[key]
        wrong += compare.gradients(f"grad.state.{THRESHOLD}", d_threshold, golden)
    if name.startswith("param."):
        changed = name.replace("param.", "param1.", 1)
        wrong += compare.same_bits(changed, weight, case.get(changed, x))
    return wrong


def _replay_evaluation(case: Arrays, meta: Mapping[str, Any], x: np.ndarray) -> list[str]:
    padded = np.pad(x.reshape(-1), (0, -x.size % _LENGTH))
    spec = _without(specification(meta), "calibrate_name", "activation_type", "clamp_value", "clamp_factor")
    long_y, state = _evaluate(spec, padded, _state(case, "state0"), _scalar(meta, "min_scale"))
    y = np.asarray(long_y)[: x.size].reshape(x.shape)
    return compare.same_bits("out.y", y, case["out.y"]) + _compare_states(state, _state(case, "state"))


def _replay_calibration(case: Arrays, meta: Mapping[str, Any], name: str, x: np.ndarray) -> list[str]:
    y, state = _calibrate(specification(meta), x, _state(case, "state0"), _scalar(meta, "given_scale"))
    wrong = compare.same_bits("out.y", y, case["out.y"])
    if name.startswith("param."):
        changed = name.replace("param.", "param1.", 1)
        wrong += compare.same_bits(changed, y, case.get(changed, x))
    golden = _state(case, "state")
    if THRESHOLD in golden:
        threshold = state.pop(THRESHOLD)
        wrong += compare.close_relative(
            f"state.{THRESHOLD}", threshold, golden.pop(THRESHOLD), compare.CALIBRATED_TOLERANCE
        )
    return wrong + _compare_states(state, golden)


def _without(spec: QuantizerSpec, *unread: str) -> QuantizerSpec:
    """The description with fields that a mode does not read at their defaults: more files share a compiled program."""
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(QuantizerSpec)}
    return dataclasses.replace(spec, **{name: defaults[name] for name in unread})


def _operand(case: Arrays) -> tuple[str, np.ndarray]:
    """Key and value of the quantized tensor: ``in.x``, or ``param.weight`` of a weight quantizer."""
    keys = [key for key in case if key.startswith(("in.", "param.")) and not key.endswith((".scale", ".bits"))]
    if len(keys) != 1:
        raise NotSupportedError(f"a quantizer case with the operands {', '.join(keys) or 'none'}")
    return keys[0], case[keys[0]]


def _state(case: Arrays, prefix: str) -> dict[str, np.ndarray]:
    return {key.rpartition(".")[2]: a for key, a in case.items() if key.startswith(prefix + ".")}


def _scalar(meta: Mapping[str, Any], key: str) -> np.float32 | None:
    return None if meta.get(key) is None else np.float32(meta[key])


def _compare_states(got: Mapping[str, Any], want: Mapping[str, np.ndarray]) -> list[str]:
    wrong = compare.same_keys("state", got, want)
    for key in sorted(set(got) & set(want)):
        wrong += compare.same_bits(f"state.{key}", got[key], want[key])
    return wrong


# One compilation for each specification and shape, shared by all cases.


@functools.partial(jax.jit, static_argnums=0)
def _train(
    spec: QuantizerSpec,
    x: jax.Array,
    state: State,
    cotangent: jax.Array,
    given_scale: jax.Array | None,
    min_scale: jax.Array | None,
) -> tuple[jax.Array, jax.Array, State, jax.Array, jax.Array]:
    def step(x: jax.Array, threshold: jax.Array) -> tuple[jax.Array, tuple[jax.Array, State]]:
        entries = {**state, THRESHOLD: threshold} if THRESHOLD in state else state
        clamped, entries = clamp_weight_once(spec, x, entries)
        y, entries = quantize(spec, clamped, entries, training=True, given_scale=given_scale, min_scale=min_scale)
        return y, (clamped, entries)

    threshold = state.get(THRESHOLD, jnp.zeros(1, jnp.float32))
    y, pull_back, (clamped, new_state) = jax.vjp(step, x, threshold, has_aux=True)
    d_x, d_threshold = pull_back(cotangent)
    return y, clamped, new_state, d_x, d_threshold


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(spec: QuantizerSpec, x: jax.Array, state: State, min_scale: jax.Array | None) -> tuple[jax.Array, State]:
    return quantize(spec, x, state, training=False, min_scale=min_scale)


@functools.partial(jax.jit, static_argnums=0)
def _calibrate(
    spec: QuantizerSpec, x: jax.Array, state: State, given_scale: jax.Array | None
) -> tuple[jax.Array, State]:
    return calibrate(spec, x, state, given_scale=given_scale)

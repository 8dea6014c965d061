"""Replays the loading of ConvBN checkpoints into quantized convolutions (spec/layers.md section 5.2).

The reference's square root may be one unit in the last place off, on some machines; everything behind it is exact. So
the result here has to equal a plain model of the formula bit for bit, and each channel of the file that model with the
square root as it is or moved by one unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
from linger_jax.api.folding import REFERENCE_EPSILON, fold_variables
from tests.golden import compare
from tests.golden import torch_layout as layout
from tests.golden.case import Case
from tests.golden.flax_layers import Call, build_layer

OPS = ("ConvBN1d", "ConvBN2d", "ConvTransposeBN1d", "ConvTransposeBN2d")
_MEAN, _VARIANCE = "bn.running_mean", "bn.running_var"


class ConvAndNorm(nn.Module):
    """A convolution and its normalization."""

    conv: nn.Module
    norm: nn.Module

    def __call__(self, x: Any) -> Any:
        return self.norm(self.conv(x))


def replay(case: Case) -> list[str]:
    """Mismatches of one file."""
    ckpt = case.group("in.ckpt")
    ctor = dict(case.meta.get("ctor") or {})
    groups = int(ctor.get("groups", 1))
    kernel, bias = _by_model(case.op, ckpt, ctor, groups)
    got = layout.from_kernel(case.op, np.asarray(kernel), groups), np.asarray(bias)
    wrong = []
    for name, value, want in zip(("out.weight", "out.bias"), got, _formula(ckpt, 0), strict=True):
        wrong += compare.same_bits(f"{name} against the formula", value, want)
    file = case.arrays["out.weight"], case.arrays["out.bias"]
    candidates = [_formula(ckpt, units) for units in (-1, 0, 1)]
    for channel in range(len(file[1])):
        if not any(
            all((f[channel] == c[channel]).all() for f, c in zip(file, pair, strict=True)) for pair in candidates
        ):
            wrong.append(
                f"channel {channel}: the file has {file[1][channel]!r}, the formula {candidates[1][1][channel]!r}"
            )
    return wrong


def _formula(ckpt: Mapping[str, np.ndarray], units: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias in PyTorch's layout, the factor along axis 0 as in the reference; float32 throughout."""
    root = np.sqrt(ckpt[_VARIANCE] + np.float32(REFERENCE_EPSILON))
    for _ in range(abs(units)):
        root = np.nextafter(root, np.float32(np.inf * units))
    alpha = ckpt["bn.weight"] * (np.float32(1) / root)
    shift = ckpt["bn.bias"] - ckpt[_MEAN] * alpha
    weight = ckpt["conv.weight"]
    weight = weight * alpha.reshape(-1, *(1,) * (weight.ndim - 1))
    return weight, (ckpt["conv.bias"] * alpha + shift if "conv.bias" in ckpt else shift)


def _by_model(op: str, ckpt: dict[str, np.ndarray], ctor: dict[str, Any], groups: int) -> tuple[Any, Any]:
    """A Flax model with the checkpoint's numbers, traced, converted and adopted under ``compat: reference``."""
    eps, momentum = ctor.pop("eps", 1e-5), ctor.pop("momentum", 0.1)
    ctor["bias"] = "conv.bias" in ckpt
    axes = int(op[-2])
    x = jax.ShapeDtypeStruct((2, *(8,) * axes, ctor["in_channels"]), jnp.float32)
    call = Call(x.shape, training=False)
    conv = build_layer(op.replace("BN", ""), ctor, call)
    norm_ctor = {"num_features": ctor["out_channels"], "eps": eps, "momentum": momentum}
    model = ConvAndNorm(conv, build_layer(f"BatchNorm{axes}d", norm_ctor, call))
    params = {"conv": {"kernel": layout.to_kernel(op, ckpt["conv.weight"], groups)}}
    params["conv"] |= {"bias": ckpt["conv.bias"]} if ctor["bias"] else {}
    params["norm"] = {"scale": ckpt["bn.weight"], "bias": ckpt["bn.bias"]}
    statistics = {"norm": {"mean": ckpt[_MEAN], "var": ckpt[_VARIANCE]}}
    variables = jax.tree.map(jnp.asarray, {"params": params, "batch_stats": statistics})
    fused, variables, _ = linger_jax.trace_layers(model, variables, x)
    qmodel = linger_jax.init(fused, {"compat": "reference"})
    folded = fold_variables(qmodel.settings, variables)["params"]
    assert set(folded) == {"conv"}
    return folded["conv"]["kernel"], folded["conv"]["bias"]

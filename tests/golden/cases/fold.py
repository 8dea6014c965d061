"""Replays the loading of ConvBN checkpoints into quantized convolutions (docs/specification/layers.md section 5.2).

The reference's square root may be one unit in the last place off, on some machines; everything behind it is exact. So
the result here has to equal a plain model of the formula bit for bit, and each channel of the file that model with the
square root as it is or moved by one unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import linger_jax
from linger_jax.api.folding import REFERENCE_EPSILON, fold_variables
from tests.golden import compare
from tests.golden.case import Case
from tests.golden.models import torch_layout as layout
from tests.golden.models.conv_and_norm import conv_and_norm, variables_of

OPS = ("ConvBN1d", "ConvBN2d", "ConvTransposeBN1d", "ConvTransposeBN2d")
_MEAN, _VARIANCE = "bn.running_mean", "bn.running_var"


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


def _by_model(op: str, ckpt: Mapping[str, np.ndarray], ctor: Mapping[str, Any], groups: int) -> tuple[Any, Any]:
    """A Flax model with the checkpoint's numbers, traced, converted and folded under ``compat: reference``."""
    shape = (2, *(8,) * int(op[-2]), ctor["in_channels"])
    model = conv_and_norm(op, {**ctor, "bias": "conv.bias" in ckpt}, shape, training=False)
    x = jax.ShapeDtypeStruct(shape, np.float32)
    fused, variables, _ = linger_jax.trace_layers(model, variables_of(op, ckpt, groups), x)
    qmodel = linger_jax.init(fused, {"compat": "reference"})
    folded = fold_variables(qmodel.settings, variables)["params"]
    assert set(folded) == {"conv"}
    return folded["conv"]["kernel"], folded["conv"]["bias"]

"""Replays files of constrained ConvBN layers through the functions that compute them (spec/config.md section 5)."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.config import ClampInfo
from linger_jax.interpret.layers.conv_bn import (
    ConvBN,
    Convolve,
    RunningStatistics,
    conv_bn_evaluation,
    conv_bn_training,
)
from tests.golden import torch_layout as layout
from tests.golden.case import Case
from tests.golden.flax_layers import transposed_padding
from tests.golden.outcome import NotSupportedError
from tests.golden.results import Results, compare_all
from tests.golden.torch_arguments import Arguments

OPS = ("CConvBN1d", "CConvBN2d", "CConvTransposeBN1d", "CConvTransposeBN2d")
_NAMES = {"conv.weight": "kernel", "conv.bias": "conv_bias", "bn.weight": "gamma", "bn.bias": "beta"}
_TORCH_NAMES = {name: torch for torch, name in _NAMES.items()}


def replay(case: Case) -> list[str]:
    """Mismatches of one file; empty when it passes.

    Raises:
      NotSupportedError: an argument or a mode that is not covered.
    """
    mode = case.meta["mode"]
    if mode not in ("train", "eval"):
        raise NotSupportedError(f"{case.op}: mode {mode!r}")
    x = layout.to_channels_last(case.op, case.arrays["in.x"])
    run = _compiled(case.op, _json(case.meta.get("ctor") or {}), _json(case.meta["config"]["clamp_info"]), mode, x.ndim)
    groups = int((case.meta.get("ctor") or {}).get("groups", 1))
    params = {_NAMES[name]: value for name, value in case.group("param").items()}
    params["kernel"] = layout.to_kernel(case.op, params["kernel"], groups)
    mean, variance = case.arrays["state0.bn.running_mean"], case.arrays["state0.bn.running_var"]
    cotangent = case.arrays.get("cot.y")
    cotangent = None if cotangent is None else layout.to_channels_last(case.op, cotangent)
    y, statistics, gradients = run(params, x, mean, variance, cotangent)
    results: Results = {"out.y": layout.to_channels_first(case.op, np.asarray(y))}
    for name, value in zip(("running_mean", "running_var"), statistics, strict=True):
        results[f"state.bn.{name}"] = np.asarray(value)
    results |= {f"param1.{name}": value for name, value in case.group("param").items()}  # the functions write none
    if gradients:
        results["grad.in.x"] = layout.to_channels_first(case.op, np.asarray(gradients[1]))
        for name, value in gradients[0].items():
            array = np.asarray(value)
            array = layout.from_kernel(case.op, array, groups) if name == "kernel" else array
            results[f"grad.param.{_TORCH_NAMES[name]}"] = array
    return compare_all(case, results)


def _json(mapping: Mapping[str, Any]) -> str:
    return json.dumps(mapping, sort_keys=True)


@functools.lru_cache(maxsize=16)
def _compiled(op: str, ctor: str, clamp_info: str, mode: str, rank: int) -> Any:
    a = Arguments(op, json.loads(ctor))
    convolve = _convolution(a, rank - 2)
    epsilon, momentum = float(a.take("eps", 1e-5)), 1.0 - float(a.take("momentum", 0.1))
    for unused in ("in_channels", "out_channels", "bias"):
        a.take(unused)
    a.only("padding_mode", "zeros")
    a.finish()
    clamp = ClampInfo(**json.loads(clamp_info))

    def forward(params: Any, x: Any, mean: Any, variance: Any) -> Any:
        layer = ConvBN(**{"conv_bias": None, **params}, epsilon=epsilon, momentum=momentum)
        running = RunningStatistics(mean, variance)
        if mode == "eval":
            return conv_bn_evaluation(layer, running, x, convolve, clamp=clamp), (mean, variance)
        y, after = conv_bn_training(layer, running, x, convolve, clamp=clamp)
        return y, (after.mean, after.variance)

    def run(params: Any, x: Any, mean: Any, variance: Any, cotangent: Any) -> Any:
        if mode == "eval":
            return *forward(params, x, mean, variance), ()
        y, pull, statistics = jax.vjp(lambda p, v: forward(p, v, mean, variance), params, x, has_aux=True)
        return y, statistics, pull(cotangent)

    return jax.jit(run)


def _convolution(a: Arguments, axes: int) -> Convolve:
    """The layer's convolution over channels-last arrays."""
    kernel = a.each_axis("kernel_size", None, axes)
    strides = a.each_axis("stride", 1, axes)
    dilation = a.each_axis("dilation", 1, axes)
    groups = int(a.take("groups", 1))
    plane = "HW"[:axes]
    form = (f"N{plane}C", f"{plane}IO", f"N{plane}C")
    common: dict[str, Any] = {
        "rhs_dilation": dilation,
        "dimension_numbers": form,
        "feature_group_count": groups,
    }
    if "Transpose" in a.op:
        common |= {
            "window_strides": (1,) * axes,
            "lhs_dilation": strides,
            "padding": transposed_padding(a, kernel, axes),
        }
    else:
        common |= {"window_strides": strides, "padding": [(p, p) for p in a.each_axis("padding", 0, axes)]}

    def convolve(x: Any, kernel: Any, bias: Any) -> Any:
        y = lax.conv_general_dilated(x, kernel, **common)
        return y if bias is None else y + jnp.reshape(bias, (1,) * (y.ndim - 1) + bias.shape)

    return convolve

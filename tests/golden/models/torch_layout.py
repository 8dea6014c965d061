"""Between the files' PyTorch layouts and Flax's: channels last, kernels with the output channel last."""

from __future__ import annotations

import re

import numpy as np

Array = np.ndarray

_CHANNELS_FIRST = re.compile(r"(Conv|BatchNorm|MaxPool|AvgPool|AdaptiveAvgPool)")
_DENSE = frozenset({"Linear", "SparifyFFN"})
_NORMALIZATION = re.compile(r"(BatchNorm|LayerNorm)")

# PyTorch's name of a running statistic -> entry of batch_stats.
STATISTICS = {"running_mean": "mean", "running_var": "var"}
# State of the reference that has no place in a Flax model: a counter that only sets the momentum where that is null,
# and buffers of its exporter.
WITHOUT_COUNTERPART = frozenset({"num_batches_tracked", "_export_weight", "_export_bias"})


def to_channels_last(op: str, x: Array) -> Array:
    """Activations of an operator: N, C, plane... becomes N, plane..., C where the operator has channels."""
    return np.moveaxis(x, 1, -1) if _CHANNELS_FIRST.search(op) and x.ndim > 2 else x


def to_channels_first(op: str, x: Array) -> Array:
    """The inverse of ``to_channels_last``."""
    return np.moveaxis(x, -1, 1) if _CHANNELS_FIRST.search(op) and x.ndim > 2 else x


def parameter_name(op: str, name: str) -> str:
    """Flax's name of a parameter."""
    if name != "weight":
        return name
    if _NORMALIZATION.search(op):
        return "scale"
    return "embedding" if op.endswith("Embedding") else "kernel"


def parameter_names(op: str) -> tuple[str, ...]:
    """PyTorch's names of a layer's parameters."""
    if op == "SparifyFFN":
        return tuple(f"{kind}_{product}" for kind in ("weight", "bias") for product in ("fc1", "fc2", "mask"))
    return ("weight", "bias")


def to_kernel(op: str, weight: Array, groups: int = 1) -> Array:
    """A PyTorch weight in Flax's layout.

    Linear: [out, in] -> [in, out]. Conv: [out, in/groups, k...] -> [k..., in/groups, out]. ConvTranspose:
    [in, out/groups, k...] -> [k..., in/groups, out], window mirrored: ``lax`` correlates where PyTorch convolves.
    """
    if "ConvTranspose" in op:
        inputs, outputs, *window = weight.shape
        grouped = weight.reshape(groups, inputs // groups, outputs, *window)
        joined = np.moveaxis(grouped, 0, 1).reshape(inputs // groups, groups * outputs, *window)
        return np.flip(_window_first(joined), tuple(range(len(window))))
    if "Conv" in op:
        return _window_first(np.swapaxes(weight, 0, 1))
    return weight.T if op in _DENSE else weight


def from_kernel(op: str, kernel: Array, groups: int = 1) -> Array:
    """The inverse of ``to_kernel``."""
    if "ConvTranspose" in op:
        *window, inputs, outputs = kernel.shape
        weight = _window_last(np.flip(kernel, tuple(range(len(window)))))
        grouped = weight.reshape(inputs, groups, outputs // groups, *window)
        return np.moveaxis(grouped, 1, 0).reshape(groups * inputs, outputs // groups, *window)
    if "Conv" in op:
        return np.swapaxes(_window_last(kernel), 0, 1)
    return kernel.T if op in _DENSE else kernel


def _window_first(weight: Array) -> Array:
    return np.moveaxis(weight, (0, 1), (-2, -1))


def _window_last(kernel: Array) -> Array:
    return np.moveaxis(kernel, (-2, -1), (0, 1))

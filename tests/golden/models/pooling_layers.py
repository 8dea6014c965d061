"""PyTorch's pooling layers as Flax code, their ``ceil_mode`` as asymmetric padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from jax import lax

from tests.golden.models.torch_arguments import Arguments, overhang
from tests.golden.outcome import NotSupportedError

Pool = Callable[[Any], Any]
Padding = tuple[tuple[int, int], ...]


def _window(a: Arguments, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], Padding]:
    """Kernel, strides and padding; PyTorch's default stride is the kernel."""
    axes = len(shape) - 2
    kernel = a.each_axis("kernel_size", None, axes)
    strides = a.each_axis("stride", kernel[0], axes) if a.take("stride") is not None else kernel
    dilation = a.each_axis("dilation", 1, axes)
    padding = a.each_axis("padding", 0, axes)
    ceil_mode = bool(a.take("ceil_mode", False))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    beyond = [
        overhang(n, k, s, p, ceil_mode=ceil_mode)
        for n, k, s, p in zip(shape[1:-1], reach, strides, padding, strict=True)
    ]
    return kernel, strides, tuple((p, p + o) for p, o in zip(padding, beyond, strict=True))


def max_pool(a: Arguments, shape: tuple[int, ...]) -> Pool:
    """MaxPool1d and MaxPool2d."""
    a.only("return_indices", False)
    kernel, strides, padding = _window(a, shape)
    dilation = a.each_axis("dilation", 1, len(shape) - 2)
    if all(d == 1 for d in dilation):
        return lambda x: nn.max_pool(x, kernel, strides, padding)
    outside = ((0, 0), *padding, (0, 0))
    return lambda x: lax.reduce_window(
        x, -np.inf, lax.max, (1, *kernel, 1), (1, *strides, 1), outside, None, (1, *dilation, 1)
    )


def average_pool(a: Arguments, shape: tuple[int, ...]) -> Pool:
    """AvgPool1d and AvgPool2d: each window's sum over PyTorch's divisor of that window."""
    kernel, strides, padding = _window(a, shape)
    include = bool(a.take("count_include_pad", True))
    divisor = a.take("divisor_override")
    if divisor is None and not (include and any(high > low for low, high in padding)):
        return lambda x: nn.avg_pool(x, kernel, strides, padding, count_include_pad=include)
    if divisor is None and not any(low for low, _ in padding):
        raise NotSupportedError(
            f"{a.op}: ceil_mode with count_include_pad but without padding counts like count_include_pad=False in Flax"
        )
    counts = np.float32(divisor) if divisor is not None else _counts(shape, kernel, strides, padding)
    outside = ((0, 0), *padding, (0, 0))

    def pool(x: Any) -> Any:
        return lax.reduce_window(x, 0.0, lax.add, (1, *kernel, 1), (1, *strides, 1), outside) / counts

    return pool


def _counts(shape: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], padding: Padding) -> np.ndarray:
    """Cells of each window inside the symmetrically padded input: an overhang does not count."""
    counts = np.ones((1, *(1,) * len(kernel), 1), np.float32)
    for axis, (n, k, s, (low, high)) in enumerate(zip(shape[1:-1], kernel, strides, padding, strict=True), start=1):
        starts = np.arange((n + low + high - k) // s + 1) * s - low
        cells = np.minimum(starts + k, n + low) - starts
        along = [1] * counts.ndim
        along[axis] = -1
        counts = counts * cells.reshape(along).astype(np.float32)
    return counts


def global_average_pool(a: Arguments, shape: tuple[int, ...]) -> Pool:
    """AdaptiveAvgPool2d to one position."""
    size = a.take("output_size")
    if any(n != 1 for n in (size if isinstance(size, list) else [size])):
        raise NotSupportedError(f"{a.op}: output_size={size!r}")
    plane = tuple(shape[1:-1])
    return lambda x: nn.avg_pool(x, plane, plane)


POOLING: Mapping[str, Callable[[Arguments, tuple[int, ...]], Pool]] = {
    "MaxPool1d": max_pool,
    "MaxPool2d": max_pool,
    "AvgPool1d": average_pool,
    "AvgPool2d": average_pool,
    "AdaptiveAvgPool2d": global_average_pool,
}

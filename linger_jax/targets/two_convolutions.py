"""Windows that one convolution of a chip cannot have and two can.

Source: docs/specification/executor.md section 4, row ``strided_conv_as_two``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from linger_jax.targets.device import Device


@dataclasses.dataclass(frozen=True)
class TwoSteps:
    """One axis of a convolution as two: phases become channels, then a smaller window goes over them."""

    first: int
    """Kernel and stride of the first."""
    kernel: int
    """Of the second."""
    stride: int
    """Of the second."""
    pad: int
    """In front, of the first."""
    pad_second: int
    """In front, of the second."""


def fits_one(device: Device, kernel: int, stride: int) -> bool:
    """Whether one convolution has such a window on an axis; a kernel smaller than its stride gains taps of zero."""
    return max(kernel, stride) <= device.conv2d_kernel[1] and stride in device.strides


def in_two_steps(device: Device, kernel: int, stride: int, pad: int) -> TwoSteps | None:
    """The two windows of an axis, or None where there are none.

    Args:
      device: of the chip.
      kernel, stride, pad: of the axis, without dilation; ``pad`` in front.
    """
    for first in sorted({1, *device.strides}, reverse=True):
        rest, second = stride // first, -(-kernel // first)
        fits = stride % first == 0 and second <= device.conv2d_kernel[1] and rest in (1, *device.strides)
        if fits and rest <= second and pad // first <= min(second, device.padding):
            return TwoSteps(first, second, rest, pad % first, pad // first)
    return None


def windows_in_two(
    device: Device, kernel: Iterable[int], strides: Iterable[int], pads: Iterable[int]
) -> list[TwoSteps] | None:
    """The two windows of every axis, or None where an axis has none, or none of them moves.

    Args:
      device: of the chip.
      kernel, strides, pads: one an axis, as of ``in_two_steps``.
    """
    found = [in_two_steps(device, int(k), int(s), int(p)) for k, s, p in zip(kernel, strides, pads, strict=True)]
    windows = [window for window in found if window is not None]
    return windows if len(windows) == len(found) and any(w.first > 1 for w in windows) else None

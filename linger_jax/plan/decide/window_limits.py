"""Platform limits of kernels, strides and paddings, checked when the plan is built.

Source: docs/specification/config.md section 2.3.
"""

from __future__ import annotations

from collections.abc import Iterable

from linger_jax.errors import PlatformLimitError
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import Platform, in_two_steps, target_of, windows_in_two


def check_window(
    layer: str,
    platform: Platform,
    *,
    kernel: Iterable[int] = (),
    stride: Iterable[int] = (),
    padding: Iterable[int] = (),
    in_two: bool = False,
) -> None:
    """Checks every element of a window.

    Args:
      layer: dotted path of the layer, for the message.
      platform: the target.
      kernel, stride, padding: elements to check; leave out what is exempt.
      in_two: a window that two convolutions of the device compute exactly is one that can run; the padding then holds
        the front and the back of each axis.

    Raises:
      PlatformLimitError: names layer, platform, value and allowed range.
    """
    if in_two and _runs_in_two(platform, tuple(kernel), tuple(stride), tuple(padding)):
        return
    limits = target_of(platform).windows
    _check_between(layer, platform, "kernel", kernel, limits.kernel)
    for value in stride:
        if value not in limits.strides:
            raise _refused(layer, platform, f"stride {value}", f"one of {', '.join(map(str, limits.strides))}")
    _check_between(layer, platform, "padding", padding, limits.padding)


def _runs_in_two(
    platform: Platform, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> bool:
    """Whether export writes two convolutions for a window (docs/specification/executor.md section 4)."""
    device = target_of(platform).device
    if device is None or ops.QCONV2D.name in device.missing_operators:
        return False
    front, back = padding[::2], padding[1::2]
    if windows_in_two(device, kernel, stride, front) is None:
        return False
    return all(in_two_steps(device, k, s, p) is not None for k, s, p in zip(kernel, stride, back, strict=True))


def _check_between(
    layer: str, platform: Platform, what: str, values: Iterable[int], bounds: tuple[int, int] | None
) -> None:
    if bounds is None:
        return
    for value in values:
        if not bounds[0] <= value <= bounds[1]:
            raise _refused(layer, platform, f"{what} {value}", f"{bounds[0]} to {bounds[1]}")


def _refused(layer: str, platform: Platform, found: str, allowed: str) -> PlatformLimitError:
    return PlatformLimitError(
        f"layer {layer!r}: {found} is outside what {platform.value} can run ({allowed}). "
        f"Change the layer, choose another platform, or leave the layer float with disable_submodel."
    )

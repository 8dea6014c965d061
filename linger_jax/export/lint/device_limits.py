"""Numbers of a device as its packer knows them."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

from linger_jax.config import Platform


@dataclasses.dataclass(frozen=True)
class Device:
    """Limits of one platform; the table names the source of each.

    Attributes:
      platform: the chip.
      share_memory, psram: bytes.
      conv2d_kernel: largest window by dilation; other dilations are refused.
      conv1d_kernel, transposed_kernel: largest window.
      strides: allowed ones.
      padding: largest.
      output_bits: of convolutions and linear layers.
      linear_output_bits, linear_weight_bits: what the packer takes beyond that from linear layers.
      softmax_workspace: bytes of scratch memory for a value.
      conv_workspace: most bytes of scratch memory that a convolution takes for a result in PSRAM; None for all of it.
      softmax_length: longest axis.
      needs_platform_quant: whether nodes must carry the attribute ``platform_quant``.
    """

    platform: Platform
    share_memory: int
    psram: int
    conv2d_kernel: Mapping[int, int]
    conv1d_kernel: int
    transposed_kernel: int
    strides: tuple[int, ...]
    padding: int
    output_bits: tuple[int, ...]
    linear_output_bits: tuple[int, ...]
    linear_weight_bits: tuple[int, ...]
    softmax_workspace: int
    conv_workspace: int | None
    softmax_length: int
    needs_platform_quant: bool

    def largest_kernel(self, op: str, dilation: int) -> int:
        """Largest window of a ``QConv1d`` or ``QConv2d``; 0 where the device has none of that dilation."""
        return self.conv1d_kernel if op == "QConv1d" else self.conv2d_kernel.get(dilation, 0)


@functools.cache
def _table() -> Mapping[Platform, Mapping[str, Any]]:
    text = importlib.resources.files("linger_jax.export.lint").joinpath("tables/devices.json").read_text()
    return {Platform(name): rows for name, rows in json.loads(text)["devices"].items()}


def platforms() -> tuple[Platform, ...]:
    """The platforms that the packer knows."""
    return tuple(_table())


@functools.cache
def device(platform: Platform) -> Device:
    """The device of a platform, one of :func:`platforms`."""
    rows = {name: row["value"] for name, row in _table()[platform].items()}
    rows["conv2d_kernel"] = {int(dilation): size for dilation, size in rows["conv2d_kernel"].items()}
    for name in ("strides", "output_bits", "linear_output_bits", "linear_weight_bits"):
        rows[name] = tuple(rows[name])
    return Device(platform, **rows)

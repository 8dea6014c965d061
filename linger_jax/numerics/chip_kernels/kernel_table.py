"""Which chip has which kernel, and in which Q-format (docs/specification/chip_kernels.md section 1)."""

from __future__ import annotations

from linger_jax.config import Platform
from linger_jax.errors import PlatformLimitError

SOFTMAX_INPUT_FRACTION_BITS = 25
SOFTMAX_RESULT_FRACTION_BITS = 15
GATED_FRACTION_BITS = 27
"""Input and result of gelu and swish."""
VENUS_RESULT_FRACTION_BITS = 15
GATE_FRACTION_BITS = 31
SIGMOID_GATE_FRACTION_BITS = 15
"""Grid of the sigmoid inside a GLU (docs/specification/layers.md section 10)."""
PRODUCT_FRACTION_BITS = 58
"""Slope times input of the 32-bit sigmoid and tanh."""

_INPUT_FRACTION_BITS = {Platform.venus: 11, Platform.arcs: 27, Platform.mars: 27, Platform.venusA: 27}
_RAW_FRACTION_BITS = {Platform.venus: 15, Platform.arcs: 31, Platform.mars: 31, Platform.venusA: 58}
_TABLE_OWNER = {
    Platform.venus: Platform.venus,
    Platform.arcs: Platform.arcs,
    Platform.mars: Platform.arcs,
    Platform.venusA: Platform.venusA,
}


def input_fraction_bits(platform: Platform) -> int:
    """Q-format of the input of sigmoid and tanh: 11 on venus, 27 elsewhere.

    Raises:
        PlatformLimitError: the platform has no kernels.
    """
    return _INPUT_FRACTION_BITS[with_kernels(platform, "sigmoid and tanh")]


def raw_fraction_bits(platform: Platform) -> int:
    """Q-format of what sigmoid and tanh compute before requantization: 15, 31 or 58."""
    return _RAW_FRACTION_BITS[with_kernels(platform, "sigmoid and tanh")]


def result_fraction_bits(platform: Platform, output_bits: int) -> int:
    """Q-format in which sigmoid and tanh answer a tensor operator: output bits - 1; on venus 15 whatever they are.

    Source: docs/specification/chip_kernels.md section 5.
    """
    on_venus = with_kernels(platform, "sigmoid and tanh") is Platform.venus
    return VENUS_RESULT_FRACTION_BITS if on_venus else output_bits - 1


def gate_fraction_bits(platform: Platform) -> int:
    """Q-format in which sigmoid and tanh answer the gates of LSTM, GRU and GLU: 15 on venus, 31 elsewhere.

    Source: docs/specification/chip_kernels.md section 5.
    """
    return VENUS_RESULT_FRACTION_BITS if platform is Platform.venus else GATE_FRACTION_BITS


def has_kernels(platform: Platform) -> bool:
    """Whether the platform has sigmoid, tanh and softmax."""
    return platform in _TABLE_OWNER


def has_gated_kernels(platform: Platform) -> bool:
    """Whether the platform has gelu and swish."""
    return platform is Platform.venusA


def table_owner(platform: Platform) -> Platform:
    """The platform whose tables and formulas a platform uses: mars uses those of arcs."""
    return _TABLE_OWNER[platform]


def with_kernels(platform: Platform, kernel: str) -> Platform:
    """The platform itself.

    Raises:
        PlatformLimitError: it has no integer kernels.
    """
    if platform not in _TABLE_OWNER:
        known = ", ".join(_TABLE_OWNER)
        raise PlatformLimitError(
            f"platform {platform} has no integer kernel for {kernel}: choose one of {known}, or leave it in float"
        )
    return platform

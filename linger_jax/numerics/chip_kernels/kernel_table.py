"""Which chip has which kernel, and in which Q-format.

Source: docs/specification/chip_kernels.md section 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from linger_jax.errors import PlatformLimitError
from linger_jax.targets import ChipKernels, GeluSwish, NarrowArithmetic, Platform, WideArithmetic, target_of

SOFTMAX_INPUT_FRACTION_BITS = 25
SOFTMAX_RESULT_FRACTION_BITS = 15
GATED_FRACTION_BITS = 27
"""Input and result of gelu and swish."""
SIGMOID_GATE_FRACTION_BITS = 15
"""Grid of the sigmoid inside a GLU (docs/specification/layers.md section 10)."""


def input_fraction_bits(platform: Platform) -> int:
    """Q-format of the input of sigmoid and tanh.

    Raises:
      PlatformLimitError: the platform has no kernels.
    """
    return kernels_of(platform, "sigmoid and tanh").sigmoid_tanh.input_fraction_bits


def result_fraction_bits(platform: Platform, output_bits: int) -> int:
    """Q-format in which sigmoid and tanh answer a tensor operator: output bits - 1, or the chip's one format.

    Raises:
      PlatformLimitError: the platform has no kernels.

    Source: docs/specification/chip_kernels.md section 5.
    """
    arithmetic = kernels_of(platform, "sigmoid and tanh").sigmoid_tanh.arithmetic
    match arithmetic:
        case NarrowArithmetic():
            return arithmetic.result_fraction_bits
        case WideArithmetic():
            return output_bits - 1
        case _:
            assert_never(arithmetic)


def gate_fraction_bits(platform: Platform) -> int:
    """Q-format in which sigmoid and tanh answer the gates of LSTM, GRU and GLU.

    Raises:
      PlatformLimitError: the platform has no kernels.

    Source: docs/specification/chip_kernels.md section 5.
    """
    arithmetic = kernels_of(platform, "sigmoid and tanh").sigmoid_tanh.arithmetic
    match arithmetic:
        case NarrowArithmetic():
            return arithmetic.result_fraction_bits
        case WideArithmetic():
            return arithmetic.gate_fraction_bits
        case _:
            assert_never(arithmetic)


def kernels_of(platform: Platform, function: str) -> ChipKernels:
    """The kernels of a platform.

    Args:
      platform: target chip.
      function: what is to be computed, for the message.

    Raises:
      PlatformLimitError: the platform has no integer kernels.
    """
    kernels = target_of(platform).kernels
    if kernels is None:
        known = [other for other in Platform if target_of(other).kernels is not None]
        raise _missing(platform, function, known)
    return kernels


def gelu_swish_of(platform: Platform, function: str) -> GeluSwish:
    """The kernels of gelu and swish of a platform.

    Args:
      platform: target chip.
      function: what is to be computed, for the message.

    Raises:
      PlatformLimitError: the platform has no such kernels.
    """
    found = _gelu_swish(platform)
    if found is None:
        known = [other for other in Platform if _gelu_swish(other) is not None]
        raise _missing(platform, function, known)
    return found


def _gelu_swish(platform: Platform) -> GeluSwish | None:
    kernels = target_of(platform).kernels
    return None if kernels is None else kernels.gelu_swish


def _missing(platform: Platform, function: str, known: Sequence[Platform]) -> PlatformLimitError:
    choice = f"choose one of {', '.join(known)}" if len(known) > 1 else f"only {known[0]} has one"
    return PlatformLimitError(
        f"platform {platform} has no integer kernel for {function}: {choice}, or leave it in float"
    )

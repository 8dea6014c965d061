"""What distinguishes the LSTM and GRU of one chip from those of another.

Source: docs/specification/recurrent.md sections 3 and 4.
"""

from __future__ import annotations

import dataclasses

from linger_jax.config import Platform
from linger_jax.numerics.chip_kernels import input_fraction_bits

_GATE_FRACTION_BITS = 15
_WIDE_GATE_FRACTION_BITS = 31


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateVariant:
    """How pre-activations become gates.

    Attributes:
      platform: whose kernels are used.
      fraction_bits: Q-format of the pre-activation that a kernel reads.
      saturates: it is saturated to 16 bits first.
      kernel_bits: Q-format in which a kernel answers.
    """

    platform: Platform
    fraction_bits: int
    saturates: bool
    kernel_bits: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LstmVariant:
    """LSTM cell of one chip; gates and cell in Q15.

    Attributes:
      gates: the kernels.
      rounds_cell_once: venus: the cell and the input of its tanh are each rounded from the exact sum; elsewhere both
        products are saturated to 32 bits and the cell is rounded from the tanh's input (docs/codes.md R15).
    """

    gates: GateVariant
    rounds_cell_once: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class GruVariant:
    """GRU cell of one chip.

    Attributes:
      gates: the kernels.
      common_accumulator: pre-activations are added in the finer of the two products' formats and only then brought to
        the kernels' format; otherwise each product is brought to that first.
      saturates_difference: the difference that the update gate multiplies is saturated to 16 bits.
      update_keeps_new: h' = h + z (n - h) instead of n + z (h - n) (docs/codes.md R1).
      difference_passes_gradient: False: that difference is a constant in the backward pass (docs/codes.md R2).
      resets_before_product: the reset gate multiplies the hidden state before its matrix product (docs/codes.md R3).
      rounds_products_in_float: products with gates in Q31 are rounded to float64 before they are shifted.
    """

    gates: GateVariant
    common_accumulator: bool
    saturates_difference: bool
    update_keeps_new: bool
    difference_passes_gradient: bool
    resets_before_product: bool
    rounds_products_in_float: bool


def lstm_variant(platform: Platform) -> LstmVariant:
    """The LSTM of a chip.

    Raises:
        PlatformLimitError: the platform has no kernels.
    """
    venus = platform is Platform.venus
    return LstmVariant(gates=_gates(platform, saturates=venus), rounds_cell_once=venus)


def gru_variant(
    platform: Platform,
    *,
    update_keeps_new: bool,
    difference_passes_gradient: bool,
    gates_saturate: bool,
    resets_before_product: bool,
    rounds_products_in_float: bool,
) -> GruVariant:
    """The GRU of a chip.

    Args:
        platform: the chip.
        update_keeps_new, difference_passes_gradient, gates_saturate: venus only: see `GruForm` and `GateForm`.
        resets_before_product: arcs and mars only.
        rounds_products_in_float: see `GruForm`.

    Raises:
        PlatformLimitError: the platform has no kernels.
    """
    venus = platform is Platform.venus
    return GruVariant(
        gates=_gates(platform, saturates=venus and gates_saturate),
        common_accumulator=platform is Platform.venusA,
        saturates_difference=venus,
        update_keeps_new=venus and update_keeps_new,
        difference_passes_gradient=not venus or difference_passes_gradient,
        resets_before_product=platform in (Platform.arcs, Platform.mars) and resets_before_product,
        rounds_products_in_float=rounds_products_in_float,
    )


def _gates(platform: Platform, *, saturates: bool) -> GateVariant:
    return GateVariant(
        platform=platform,
        fraction_bits=input_fraction_bits(platform),
        saturates=saturates,
        kernel_bits=_GATE_FRACTION_BITS if platform is Platform.venus else _WIDE_GATE_FRACTION_BITS,
    )

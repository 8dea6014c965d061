"""What distinguishes the LSTM and GRU of one chip from those of another.

Source: docs/specification/recurrent.md sections 3 and 4.
"""

from __future__ import annotations

import dataclasses

from linger_jax.numerics.chip_kernels import gate_fraction_bits, kernels_of
from linger_jax.targets import Platform

_PRE_ACTIVATION_BITS = 32
_EXECUTOR_GATE_BITS = 7
_FUNCTIONS = "sigmoid and tanh"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateVariant:
    """How pre-activations become gates.

    Attributes:
      platform: whose kernels are used.
      fraction_bits: Q-format of the pre-activation that a kernel reads.
      input_bits: width that it is saturated to first; pre-activations have 32 bits before.
      kernel_bits: Q-format in which a kernel answers.
    """

    platform: Platform
    fraction_bits: int
    input_bits: int
    kernel_bits: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LstmVariant:
    """LSTM cell of one chip; gates and cell in Q15.

    Attributes:
      gates: the kernels.
      rounds_cell_once: the cell and the input of its tanh are each rounded from the exact sum; otherwise both products
        are saturated to 32 bits and the cell is rounded from the tanh's input (docs/codes.md R15).
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
      halves_state: the update gate multiplies the state's half, without its last bit, and no gate's product is rounded
        but the new state (docs/specification/executor.md section 5).
    """

    gates: GateVariant
    common_accumulator: bool
    saturates_difference: bool
    update_keeps_new: bool
    difference_passes_gradient: bool
    resets_before_product: bool
    rounds_products_in_float: bool
    halves_state: bool = False


def lstm_variant(platform: Platform) -> LstmVariant:
    """The LSTM of a chip.

    Raises:
      PlatformLimitError: the platform has no kernels.
    """
    kernels = kernels_of(platform, _FUNCTIONS)
    return LstmVariant(gates=_gates(platform, gates_saturate=True), rounds_cell_once=kernels.lstm.rounds_cell_once)


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
      update_keeps_new: where linger turns the update gate around, so does this cell.
      difference_passes_gradient: also where linger stops that gradient.
      gates_saturate: pre-activations are saturated to the width that the kernels read.
      resets_before_product: where linger resets before the product, so does this cell.
      rounds_products_in_float: see ``GruVariant``.

    Raises:
      PlatformLimitError: the platform has no kernels.
    """
    cell = kernels_of(platform, _FUNCTIONS).gru
    return GruVariant(
        gates=_gates(platform, gates_saturate=gates_saturate),
        common_accumulator=cell.common_accumulator,
        saturates_difference=cell.saturates_difference,
        update_keeps_new=cell.linger_keeps_new and update_keeps_new,
        difference_passes_gradient=not cell.linger_stops_difference_gradient or difference_passes_gradient,
        resets_before_product=cell.linger_resets_before_product and resets_before_product,
        rounds_products_in_float=rounds_products_in_float,
    )


def executor_gru_variant(platform: Platform) -> GruVariant:
    """The GRU of a chip's executor (docs/specification/executor.md section 5).

    The gradient is that of the float cell at a hidden scale of 2^8, where halving the state changes nothing.

    Raises:
      PlatformLimitError: the platform has no kernels.
    """
    return dataclasses.replace(primitive_gru_variant(platform), halves_state=True)


def primitive_gru_variant(platform: Platform) -> GruVariant:
    """The usual GRU with gates as the executor answers them.

    Raises:
      PlatformLimitError: the platform has no kernels.
    """
    return GruVariant(
        gates=dataclasses.replace(_gates(platform, gates_saturate=True), kernel_bits=_EXECUTOR_GATE_BITS),
        common_accumulator=False,
        saturates_difference=False,
        update_keeps_new=False,
        difference_passes_gradient=True,
        resets_before_product=False,
        rounds_products_in_float=False,
    )


def _gates(platform: Platform, *, gates_saturate: bool) -> GateVariant:
    kernel = kernels_of(platform, _FUNCTIONS).sigmoid_tanh
    return GateVariant(
        platform=platform,
        fraction_bits=kernel.input_fraction_bits,
        input_bits=kernel.input_bits if gates_saturate else _PRE_ACTIVATION_BITS,
        kernel_bits=gate_fraction_bits(platform),
    )

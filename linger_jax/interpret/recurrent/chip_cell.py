"""Builds the cell that a chip computes; the choices say what holds where linger and the chip differ.

Source: docs/decisions.md D1, D2 and D34.
"""

from __future__ import annotations

from linger_jax.config import GruForm
from linger_jax.kinds import CellKind
from linger_jax.numerics.recurrent import (
    GruCell,
    LstmCell,
    PrimitiveGruCell,
    executor_gru_variant,
    gru_variant,
    lstm_variant,
    primitive_gru_variant,
)
from linger_jax.plan import Semantics
from linger_jax.targets import Platform


def chip_cell(
    kind: CellKind, platform: Platform, semantics: Semantics, gru_form: GruForm = GruForm.linger
) -> LstmCell | GruCell:
    """The cell of a kind on a platform.

    Raises:
      PlatformLimitError: the platform has no kernels.
    """
    if kind == "lstm":
        return LstmCell(lstm_variant(platform))
    if gru_form is GruForm.executor:
        return GruCell(executor_gru_variant(platform))
    if gru_form is GruForm.primitives:
        return PrimitiveGruCell(primitive_gru_variant(platform))
    return GruCell(
        gru_variant(
            platform,
            update_keeps_new=semantics.update_gate_keeps_new,
            difference_passes_gradient=semantics.update_difference_passes_gradient,
            gates_saturate=semantics.gru_gates_saturate,
            resets_before_product=semantics.reset_before_product,
            rounds_products_in_float=semantics.gate_products_in_float,
        )
    )

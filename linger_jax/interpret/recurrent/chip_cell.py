"""Builds the cell that a chip computes; the choices say what holds where linger and the chip differ.

Source: docs/decisions.md D1 and D2.
"""

from __future__ import annotations

from linger_jax.config import Platform
from linger_jax.numerics.recurrent import GruCell, LstmCell, gru_form, lstm_form
from linger_jax.plan.choices import Choices
from linger_jax.plan.recurrent_roles import Kind


def chip_cell(kind: Kind, platform: Platform, choices: Choices) -> LstmCell | GruCell:
    """The cell of a kind on a platform.

    Raises:
      PlatformLimitError: the platform has no kernels.
    """
    if kind == "lstm":
        return LstmCell(lstm_form(platform))
    return GruCell(
        gru_form(
            platform,
            update_keeps_new=choices.update_gate_keeps_new,
            difference_passes_gradient=choices.update_difference_passes_gradient,
            gates_saturate=choices.gru_gates_saturate,
            resets_before_product=choices.reset_before_product,
            rounds_products_in_float=choices.gate_products_in_float,
        )
    )

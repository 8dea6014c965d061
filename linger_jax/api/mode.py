"""Which mode a call runs in.

Statistics move if and only if ``quant`` is mutable; calibration is a context (calibration_context.py); a call
asks for integers.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from linger_jax.api.quant_collection import QUANT
from linger_jax.compat.linen import in_collections
from linger_jax.errors import LingerError
from linger_jax.plan import PlanSettings

Arithmetic = Literal["fake_quant", "integer"]
"""What an evaluation computes with: float32 on quantized values, or integers."""


def asks_for_integers(mode: Any, settings: PlanSettings, *, calibrating: bool, mutable: Any) -> bool:
    """Whether a call is an evaluation in integers.

    Args:
      mode: as the user gave it.
      settings: of the model.
      calibrating: whether the call is inside the calibration context.
      mutable: the call's filter.

    Raises:
      LingerError: an unknown mode, or integers where there are none.
    """
    if mode not in get_args(Arithmetic):
        raise LingerError(
            f"mode is {mode!r}; allowed: {', '.join(map(repr, get_args(Arithmetic)))}. A model's own argument of this "
            "name is passed by position"
        )
    if mode != "integer":
        return False
    config = settings.config
    if settings.purpose != "quantize" or not config.open_quant:
        raise LingerError(
            "mode='integer': this model has no integers (it is constrained, or open_quant is false); leave the mode out"
        )
    if calibrating or in_collections(mutable, QUANT):
        raise LingerError(
            "mode='integer' is an evaluation: outside linger_jax.calibration, and without 'quant' among the mutable "
            "collections"
        )
    return True

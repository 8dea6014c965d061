"""What is checked of a call's arguments before the model runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import flax.linen as nn
import jax

from linger_jax.api.quant_collection import QUANT
from linger_jax.compat.linen import in_collections
from linger_jax.errors import LingerError, PlanError
from linger_jax.plan import Plan, PlanSettings
from linger_jax.quantizers import QTensor

Arithmetic = Literal["fake_quant", "integer"]
"""An evaluation with the gradient of the float model, or one that refuses to be differentiated."""


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


def _arrays(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name, as a user writes it, and shape of every array of a call."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        (args, dict(kwargs)), is_leaf=lambda leaf: isinstance(leaf, QTensor)
    )
    for path, leaf in leaves:
        if hasattr(leaf, "shape"):
            yield ("args", "kwargs")[path[0].idx] + jax.tree_util.keystr(path[1:]), tuple(leaf.shape)


def refuse_empty(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuses arrays without elements.

    Raises:
      LingerError: names the argument.
    """
    for name, shape in _arrays(args, kwargs):
        if 0 in shape:
            raise LingerError(f"{name} has shape {shape}: there is no statistic of an empty batch")


def refuse_nothing_to_do(model: nn.Module, plan: Plan) -> None:
    """Refuses a model without a layer to quantize or to constrain.

    Raises:
      PlanError: lists what was found instead.
    """
    rows = plan.rows()
    if any(row.status in ("quantized", "constrained") for row in rows):
        return
    reasons = "\n".join(f"  {row.name}: {row.op}: {row.reason}" for row in rows)
    raise PlanError(
        f"{type(model).__name__} has no layer to {plan.settings.purpose}"
        + (f"; what was found:\n{reasons}" if reasons else "")
    )


class KnownRanks:
    """Ranks of the arrays that a model was initialised with, by method; safe to share between threads."""

    def __init__(self) -> None:
        self._ranks: dict[tuple[Any, str], set[int]] = {}
        self._lock = threading.Lock()

    def remember(self, method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Takes the ranks of a call as good."""
        with self._lock:
            for name, shape in _arrays(args, kwargs):
                self._ranks.setdefault((method, name), set()).add(len(shape))

    def check(self, method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Compares a call with those remembered; an argument that none of them had is not judged.

        Raises:
          LingerError: an argument has another rank.
        """
        for name, shape in _arrays(args, kwargs):
            known = self._ranks.get((method, name))
            if known and len(shape) not in known:
                ranks = " or ".join(str(rank) for rank in sorted(known))
                raise LingerError(
                    f"{name} has rank {len(shape)} (shape {shape}), the model was initialised with rank {ranks}; "
                    "initialise it (init or adopt) with an input of this rank too"
                )

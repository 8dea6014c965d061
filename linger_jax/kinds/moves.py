"""The one table of JAX primitives that only move values."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping


class GridOf(enum.Enum):
    """Whose grid the results of a move lie on."""

    first = "first"
    """Of the first operand."""
    chosen = "chosen"
    """Of the first operand, beside integers that say which of its values they are."""
    each = "each"
    """Result i lies on the grid of operand i."""
    parts = "parts"
    """Of the operands, which are parts of one array."""


class ParameterView(enum.Enum):
    """How a result shows its first operand."""

    moved = "moved"
    """The values of a parameter at other places."""
    cast = "cast"
    """The values of a parameter in another dtype."""
    indexed = "indexed"
    """Values of a parameter that indices choose."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move:
    """One primitive. None of the columns has a default.

    Attributes:
      name: in the plan's raw nodes. Reader: plan/decide/plan_operators.py.
      primitive: JAX's name. Readers: plan/recognize/library_calls.py, export/lower.
      grid: whose grid the results lie on; None where it moves values only inside a library function, and is an operator
        in the model itself. Readers: plan/decide/plan_operators.py and concat_ties.py, interpret (moves.py,
        integers/layer_sum.py).
      view: how a parameter is recognised behind it; None where it no longer is. Readers: plan/recognize (flatten.py,
        parameter_views.py).
      unit_axes: it may add or remove axes of length one only: a sum is the same sum behind it. Readers: plan/recognize.
      is_identity: it changes neither values of a grid nor their places. Reader: export/lower/lower_moves.py.
      keeps_flat_order: features flattened channels-first may pass it. Reader: export/lower/lower_moves.py.
      keeps_image: its result lies like its operand in a file. Reader: export/lower/lower_graph.py.
      keeps_channels: the values behind it are still those of the layer before it, for pairing a normalization with that
        layer. Reader: converters/model/model_inventory.py.
      takes_floats: its node in a file takes floats as well as integers. Reader: export/lower/lower_graph.py.
    """

    name: str
    primitive: str
    grid: GridOf | None
    view: ParameterView | None
    unit_axes: bool
    is_identity: bool
    keeps_flat_order: bool
    keeps_image: bool
    keeps_channels: bool
    takes_floats: bool


def _row(name: str, grid: GridOf | None, view: ParameterView | None, *true: str, primitive: str | None = None) -> Move:
    """A row by the columns that are true; a word that is no column is a TypeError."""
    names = {field.name for field in dataclasses.fields(Move)} - {"name", "primitive", "grid", "view"}
    marks = dict.fromkeys(sorted(names), False) | dict.fromkeys(true, True)
    return Move(name=name, primitive=primitive or name, grid=grid, view=view, **marks)


_FIRST, _MOVED = GridOf.first, ParameterView.moved
_ROWS = (
    _row("reshape", _FIRST, _MOVED, "unit_axes", "takes_floats"),
    _row("transpose", _FIRST, _MOVED, "takes_floats"),
    _row("squeeze", _FIRST, _MOVED, "unit_axes", "takes_floats"),
    _row("expand_dims", _FIRST, _MOVED, "unit_axes", "takes_floats"),
    _row("broadcast_in_dim", _FIRST, _MOVED, "unit_axes", "takes_floats"),
    _row("slice", _FIRST, _MOVED, "keeps_image", "takes_floats"),
    _row("split", _FIRST, _MOVED, "takes_floats"),
    _row("unstack", _FIRST, _MOVED, "takes_floats"),
    _row("rev", _FIRST, _MOVED, "keeps_image", "takes_floats"),
    _row("pad", _FIRST, None, "keeps_image", "keeps_channels", "takes_floats"),
    _row("gather", _FIRST, ParameterView.indexed, "takes_floats"),
    _row("dynamic_slice", _FIRST, ParameterView.indexed, "takes_floats"),
    _row("tile", _FIRST, None, "takes_floats"),
    _row("copy", _FIRST, _MOVED, "is_identity", "keeps_flat_order", "keeps_channels", "takes_floats"),
    _row("copy_p", _FIRST, None, "is_identity", "keeps_flat_order"),
    _row("name", _FIRST, _MOVED, "is_identity", "keeps_flat_order", "takes_floats"),
    _row("stop_gradient", _FIRST, None, "is_identity", "keeps_flat_order", "keeps_channels", "takes_floats"),
    _row("sharding_constraint", _FIRST, None, "is_identity", "keeps_flat_order"),
    _row(
        "convert_element_type",
        _FIRST,
        ParameterView.cast,
        "is_identity",
        "keeps_flat_order",
        "keeps_image",
        "keeps_channels",
        "takes_floats",
    ),
    _row("reduce_precision", _FIRST, None, "is_identity"),
    _row("top_k", GridOf.chosen, None),
    _row("sort", GridOf.each, None),
    _row("optimization_barrier", GridOf.each, None),
    _row("join", GridOf.parts, None, primitive="concatenate"),
    _row("select_n", None, None),
)

MOVES: Mapping[str, Move] = {move.name: move for move in _ROWS}
"""By the name in the plan's raw nodes. A move named otherwise than its primitive is that primitive in some places only:
``join`` is a concatenation inside a library function that puts parts of one array together again."""
MOVE_OF_PRIMITIVE: Mapping[str, Move] = {move.primitive: move for move in _ROWS}
UNIT_AXES = frozenset(move.name for move in _ROWS if move.unit_axes)
JOIN = MOVES["join"]

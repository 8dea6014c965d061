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


_ROWS = (
    Move(
        name="reshape",
        primitive="reshape",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=True,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="transpose",
        primitive="transpose",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="squeeze",
        primitive="squeeze",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=True,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="expand_dims",
        primitive="expand_dims",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=True,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="broadcast_in_dim",
        primitive="broadcast_in_dim",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=True,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="slice",
        primitive="slice",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=True,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="split",
        primitive="split",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="unstack",
        primitive="unstack",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="rev",
        primitive="rev",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=True,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="pad",
        primitive="pad",
        grid=GridOf.first,
        view=None,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=True,
        keeps_channels=True,
        takes_floats=True,
    ),
    Move(
        name="gather",
        primitive="gather",
        grid=GridOf.first,
        view=ParameterView.indexed,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="dynamic_slice",
        primitive="dynamic_slice",
        grid=GridOf.first,
        view=ParameterView.indexed,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="tile",
        primitive="tile",
        grid=GridOf.first,
        view=None,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="copy",
        primitive="copy",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=False,
        is_identity=True,
        keeps_flat_order=True,
        keeps_image=False,
        keeps_channels=True,
        takes_floats=True,
    ),
    Move(
        name="copy_p",
        primitive="copy_p",
        grid=GridOf.first,
        view=None,
        unit_axes=False,
        is_identity=True,
        keeps_flat_order=True,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=False,
    ),
    Move(
        name="name",
        primitive="name",
        grid=GridOf.first,
        view=ParameterView.moved,
        unit_axes=False,
        is_identity=True,
        keeps_flat_order=True,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=True,
    ),
    Move(
        name="stop_gradient",
        primitive="stop_gradient",
        grid=GridOf.first,
        view=None,
        unit_axes=False,
        is_identity=True,
        keeps_flat_order=True,
        keeps_image=False,
        keeps_channels=True,
        takes_floats=True,
    ),
    Move(
        name="sharding_constraint",
        primitive="sharding_constraint",
        grid=GridOf.first,
        view=None,
        unit_axes=False,
        is_identity=True,
        keeps_flat_order=True,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=False,
    ),
    Move(
        name="convert_element_type",
        primitive="convert_element_type",
        grid=GridOf.first,
        view=ParameterView.cast,
        unit_axes=False,
        is_identity=True,
        keeps_flat_order=True,
        keeps_image=False,
        keeps_channels=True,
        takes_floats=False,
    ),
    Move(
        name="reduce_precision",
        primitive="reduce_precision",
        grid=GridOf.first,
        view=None,
        unit_axes=False,
        is_identity=True,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=False,
    ),
    Move(
        name="top_k",
        primitive="top_k",
        grid=GridOf.chosen,
        view=None,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=False,
    ),
    Move(
        name="sort",
        primitive="sort",
        grid=GridOf.each,
        view=None,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=False,
    ),
    Move(
        name="optimization_barrier",
        primitive="optimization_barrier",
        grid=GridOf.each,
        view=None,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=False,
    ),
    Move(
        name="join",
        primitive="concatenate",
        grid=GridOf.parts,
        view=None,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=False,
    ),
    Move(
        name="select_n",
        primitive="select_n",
        grid=None,
        view=None,
        unit_axes=False,
        is_identity=False,
        keeps_flat_order=False,
        keeps_image=False,
        keeps_channels=False,
        takes_floats=False,
    ),
)

MOVES: Mapping[str, Move] = {move.name: move for move in _ROWS}
"""By the name in the plan's raw nodes. A move named otherwise than its primitive is that primitive in some places only:
``join`` is a concatenation inside a library function that puts parts of one array together again."""
MOVE_OF_PRIMITIVE: Mapping[str, Move] = {move.primitive: move for move in _ROWS}
UNIT_AXES = frozenset(move.name for move in _ROWS if move.unit_axes)
JOIN = MOVES["join"]

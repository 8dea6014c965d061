"""Steps that hand the grid of their operand on and are neither layers nor mere moves."""

from __future__ import annotations

import dataclasses

from linger_jax.kinds.kind import IN_FLAX_ORDER, OF_EACH_NUMBER, OF_IMAGES, Kind

RELU = Kind(name="relu", nodes=("relu",), passes=True, file=OF_EACH_NUMBER)
RELU6 = Kind(name="relu6", nodes=("relu6",), passes=True, file=OF_EACH_NUMBER)
MAX_POOL = Kind(
    name="max_pool",
    nodes=("max_pool", "reduce_window_max"),
    passes=True,
    file=dataclasses.replace(OF_IMAGES, takes_floats=True),
)
ARGMAX = Kind(
    name="argmax", nodes=("argmax",), passes=False, file=dataclasses.replace(IN_FLAX_ORDER, takes_floats=True)
)
"""Its result is an index: it reads a grid and hands none on."""
MOVED = Kind(
    name="structural", nodes=("structural",), passes=False, file=dataclasses.replace(IN_FLAX_ORDER, takes_floats=True)
)
"""A decided step that only moves values of a grid; which move it is, kinds/moves.py says."""

PASSING = (RELU, RELU6, MAX_POOL, ARGMAX, MOVED)

"""Dropout that a model writes out itself: a product with a random mask, as Flax's attention does.

It is ``nn.Dropout`` under another spelling: absent in evaluation, so it may neither be an operator with state of its
own nor count among those that are.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from linger_jax.kinds import DROPOUT, MUL, UNIT_AXES
from linger_jax.plan.graph import PRIMITIVE, Atom, Constant, Node, Uses

_DRAWS = frozenset({"random_bits", "rng_bit_generator", "threefry2x32"})
# Between the random booleans and the product: cast, division by the share that is kept, broadcasting.
_SCALES = frozenset({"div", *MUL.nodes})
_CASTS = UNIT_AXES | {"convert_element_type"}


def written_dropout(uses: Uses, nodes: list[Node], index: int) -> tuple[Node, frozenset[int]] | None:
    """The product at ``index`` as a dropout of its other operand, if one operand is a scaled random mask."""
    node = nodes[index]
    if node.kind != MUL or len(node.inputs) != 2 or node.run is None:
        return None
    multiply = node.run
    attributes = {PRIMITIVE: DROPOUT.name}
    value, mask = node.inputs
    if not isinstance(value, Constant) and _is_random_mask(uses, nodes, mask):
        return dataclasses.replace(node, op=DROPOUT.name, attributes=attributes), frozenset({index})
    if not isinstance(mask, Constant) and _is_random_mask(uses, nodes, value):
        node = dataclasses.replace(node, inputs=(mask, value), run=lambda x, m: multiply(m, x))
        return dataclasses.replace(node, op=DROPOUT.name, attributes=attributes), frozenset({index})
    return None


def _is_random_mask(uses: Uses, nodes: list[Node], atom: Atom) -> bool:
    maker = uses.maker_of(atom)
    while maker is not None:
        node = nodes[maker]
        if uses.infos[node.outputs[0]].dtype == np.bool_:
            return _is_drawn(uses, nodes, maker)
        tensors = [a for a in node.inputs if not isinstance(a, Constant)]
        if len(tensors) != 1 or node.op not in _SCALES | _CASTS:
            return False
        maker = uses.maker_of(tensors[0])
    return False


def _is_drawn(uses: Uses, nodes: list[Node], start: int) -> bool:
    """Whether a value comes from a random draw and from no float that the model computed otherwise."""
    pending, seen, drawn = [start], {start}, False
    while pending:
        node = nodes[pending.pop()]
        if node.op in _DRAWS:
            drawn = True
            continue
        for atom in node.inputs:
            maker = uses.maker_of(atom)
            if maker is not None and maker not in seen:
                seen.add(maker)
                pending.append(maker)
            elif maker is None and not isinstance(atom, Constant) and uses.infos[atom].dtype == np.float32:
                return False
    return drawn

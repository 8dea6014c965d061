"""Constrained LSTM and GRU: the float layer with clipped weights and outputs.

The reference has no constrained GRU; here it is clipped as the LSTM is. Clips are functional, so the source's weights
are the layer's (docs/codes.md R17).

Source: docs/specification/recurrent.md section 8.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax

from linger_jax.interpret.context import Context, Value, plain
from linger_jax.interpret.interpreter import constrains
from linger_jax.interpret.layers.operand_roles import by_role
from linger_jax.interpret.layers.recurrent_weights import joined_weight, split_into_pieces
from linger_jax.interpret.run_layer import run_layer
from linger_jax.kinds import GRU, LSTM
from linger_jax.plan import Node
from linger_jax.plan.decide import WEIGHTS
from linger_jax.quantizers import dynamic_clip, static_clip


@constrains(LSTM, GRU)
def constrained_recurrent(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of a constrained recurrent layer: each matrix of each direction by itself; the static value wins.

    Final states are not clipped.
    """
    clamp, layer = node.layer_config.clamp_info, node.layer_info
    cell = layer.kind.recurrent_cell.name
    roles = by_role(node, operands)
    for direction in range(layer.attributes["directions"]):
        for name in WEIGHTS:
            weight = joined_weight(cell, name, direction, roles, layer.attributes["features"])
            if weight is None:
                continue
            if name.startswith("bias"):
                weight = static_clip(weight, clamp.clamp_bias_value)
            else:
                weight = _clip_matrix(weight, clamp.clamp_weight_value, clamp.clamp_factor_value)
            roles.update(split_into_pieces(cell, name, direction, roles, weight))
    results = run_layer(node.float_jaxpr, [plain(roles[role]) for role in layer.operands], fast=ctx.fast)
    return [
        static_clip(y, clamp.clamp_activation_value) if role[0] == "output" else y
        for role, y in zip(layer.results, results, strict=True)
    ]


def _clip_matrix(weight: jax.Array, value: float | None, factor: float | None) -> jax.Array:
    return static_clip(weight, value) if value is not None else dynamic_clip(weight, factor)

"""Embed: the table is quantized, rows are looked up; the table's scale is the output's.

Source: docs/specification/layers.md section 7.
"""

from __future__ import annotations

from collections.abc import Sequence

from linger_jax.interpret.apply_quantizer import quantize_weight
from linger_jax.interpret.context import Context, Value, plain
from linger_jax.interpret.interpreter import interprets, single
from linger_jax.interpret.layers.operand_roles import by_role, results
from linger_jax.kinds import EMBED
from linger_jax.plan import Node
from linger_jax.quantizers import QTensor

TABLE = ("params", "embedding")


@interprets(EMBED)
def embed(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of an embedding table."""
    roles = by_role(node, operands)
    table = quantize_weight(ctx, node.quantizer_path("weight_quantizer"), roles[TABLE])
    fake = {**roles, TABLE: table.value}
    rows = single(node.run, *(plain(fake[role]) for role in node.layer_info.operands))
    return results(node, QTensor(rows, table.scale, table.bits))

"""LSTM and GRU nodes: one direction of one layer each.

Source: docs/specification/onnx_export.md section 3, docs/specification/recurrent.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from linger_jax.export.runner.integer_tensor import Array, IntegerTensor, Value
from linger_jax.export.runner.operators.node_call import Call, RunRule
from linger_jax.interpret.recurrent import chip_cell
from linger_jax.kinds import BIAS_BITS, CellKind, OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics.recurrent import (
    CELL_SCALE,
    LoopVariant,
    Operands,
    Scales,
    forward,
)


def _layer(kind: CellKind, states: tuple[str, ...]) -> RunRule:
    """``QLSTM``, ``QGRU``: outputs on the hidden grid, then the final states as real numbers."""

    def rule(call: Call) -> Sequence[Value]:
        node = call.node
        if node.integer("num_layers", 1) != 1:
            raise call.error("more than one layer in a node")
        time_axis = _time_axis(call)
        x = call.tensor(0)
        steps = jnp.moveaxis(x.real(), time_axis, 0)
        given = sum(bool(node.integer(f"has_{state}", 0)) for state in states)
        first = 1 + given  # the weights stand behind the initial states
        input_product = x.scale * node.scale("scale_iw")
        hidden_product = node.scale("scale_h") * node.scale("scale_hw")
        run = forward(
            LoopVariant(
                cell=chip_cell(kind, node.platform, call.semantics),
                input_bits=x.bits,
                weight_bits=node.integer("w_bits"),
                hidden_bits=node.integer("o_bits"),
                reverse=not node.integer("go_forward", 1),
                saturates_bias=True,
            ),
            Operands(
                x=steps,
                weight_ih=_matrix(call, first, node.scale("scale_iw")),
                weight_hh=_matrix(call, first + 1, node.scale("scale_hw")),
                bias_ih=_bias(call, first + 2, input_product),
                bias_hh=_bias(call, first + 3, hidden_product),
                initial=_initial(call, states, given, steps.shape[1]),
            ),
            Scales(
                input=jnp.float32(x.scale),
                weight_ih=jnp.float32(node.scale("scale_iw")),
                weight_hh=jnp.float32(node.scale("scale_hw")),
                hidden=jnp.float32(node.scale("scale_h")),
            ),
            None,
        )
        hidden = jnp.moveaxis(run.hidden, 0, time_axis).astype(jnp.int32)
        last = [run.last[0] / np.float32(node.scale("scale_h")), *(c / np.float32(CELL_SCALE) for c in run.last[1:])]
        scale, label = node.scale("scale_h"), node.scale("scale_o")
        output = IntegerTensor(hidden, scale, node.integer("o_bits"), None if label == scale else label)
        return [output, *(a[None] for a in last)]

    return rule


def _time_axis(call: Call) -> int:
    """Where the time lies, as the file's dialect has it."""
    return call.dialect.time_axes[bool(call.node.integer("batch_first"))]


def _matrix(call: Call, position: int, scale: float) -> Array:
    stored = call.parameter(position, call.node.integer("w_bits"))
    return jnp.asarray(stored.T.astype(np.float32) / np.float32(scale))


def _bias(call: Call, position: int, scale: float) -> Array | None:
    stored = call.constant(position, BIAS_BITS)
    return None if stored is None else jnp.asarray((stored.astype(np.float64) / scale).astype(np.float32))


def _initial(call: Call, states: tuple[str, ...], given: int, rows: int) -> tuple[Array, ...]:
    """[1, B, H] each, or zero."""
    if not given:
        zero = jnp.zeros((rows, call.node.integer("hidden_size")), jnp.float32)
        return (zero,) * len(states)
    return tuple(call.plain(1 + i)[0] for i in range(len(states)))


RULES: Mapping[OnnxOperator, RunRule] = {
    ops.QLSTM: _layer("lstm", ("hidden", "cell")),
    ops.QGRU: _layer("gru", ("hidden",)),
}

"""LSTM and GRU nodes: one direction of one layer each.

Source: docs/specification/onnx_export.md section 3, docs/specification/recurrent.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from linger_jax.export.runner.integer_tensor import Array, IntegerTensor, Value, fraction_bits
from linger_jax.export.runner.operators.node_call import Call, RunRule
from linger_jax.interpret.recurrent import chip_cell
from linger_jax.kinds import BIAS_BITS, RECURRENT_WEIGHT, CellKind, OnnxOperator, is_executor_gru
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics.recurrent import (
    CELL_SCALE,
    ExecutorGru,
    LoopVariant,
    Operands,
    Scales,
    forward,
    run_executor_gru,
)
from linger_jax.targets import device_of

_CELL_BITS = 32
_PARAMETERS = 4
"""Weights and biases of both products."""


def _layer(kind: CellKind, states: tuple[str, ...]) -> RunRule:
    """``QLSTM``, ``QGRU``: outputs on the hidden grid, then the final states."""

    def rule(call: Call) -> Sequence[Value]:
        node = call.node
        if node.integer("num_layers", 1) != 1:
            raise call.error("more than one layer in a node")
        time_axis = _time_axis(call)
        x = call.tensor(0)
        steps = jnp.moveaxis(x.real(), time_axis, 0)
        given = sum(bool(node.integer(f"has_{state}", 0)) for state in states)
        first = len(call.operands) - _PARAMETERS  # behind the length and the initial states
        length = call.constant(1) if first > 1 + given else None
        whole, steps = len(steps), steps if length is None else steps[: int(length.reshape(()))]
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
                initial=_initial(call, states, first - given, given, steps.shape[1]),
            ),
            Scales(
                input=jnp.float32(x.scale),
                weight_ih=jnp.float32(node.scale("scale_iw")),
                weight_hh=jnp.float32(node.scale("scale_hw")),
                hidden=jnp.float32(node.scale("scale_h")),
            ),
            None,
        )
        hidden = jnp.pad(run.hidden, [(0, whole - len(steps)), (0, 0), (0, 0)])
        hidden = jnp.moveaxis(hidden, 0, time_axis).astype(jnp.int32)
        scale, label, bits = node.scale("scale_h"), node.scale("scale_o"), node.integer("o_bits")
        grids = [(scale, bits), *((CELL_SCALE, _CELL_BITS) for _ in run.last[1:])]
        last = [IntegerTensor(a[None].astype(jnp.int32), *grid) for a, grid in zip(run.last, grids, strict=True)]
        return [IntegerTensor(hidden, scale, bits, None if label == scale else label), *last]

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


def _initial(call: Call, states: tuple[str, ...], first: int, given: int, rows: int) -> tuple[Array, ...]:
    """[1, B, H] each, or zero."""
    if not given:
        zero = jnp.zeros((rows, call.node.integer("hidden_size")), jnp.float32)
        return (zero,) * len(states)
    return tuple(call.plain(first + i)[0] for i in range(len(states)))


def gru(call: Call) -> Sequence[Value]:
    """``QGRU`` of linger's kernel or of the executor, as the matrices say."""
    recurrent = call.optional(RECURRENT_WEIGHT + bool(call.node.integer("has_hidden", 0)))
    shape = tuple(recurrent.shape) if isinstance(recurrent, np.ndarray) else None
    return (_executor_gru if is_executor_gru(ops.QGRU, shape) else _CHIP_GRU)(call)


_CHIP_GRU = _layer("gru", ("hidden",))


def _executor_gru(call: Call) -> Sequence[Value]:
    """docs/specification/executor.md section 5; it starts from zero and runs forward alone."""
    node, x, bits = call.node, call.tensor(0), call.node.integer("w_bits")
    reads_state = device_of(node.platform).executor.gru_gates_read_state
    if reads_state is None:
        raise call.error(f"what the executor of {node.platform.value} computes was not measured")
    time_axis = 1 if node.integer("batch_first") else 0
    scale = node.scale("scale_o")
    cell = ExecutorGru(
        platform=node.platform,
        input_exponent=x.fraction_bits + fraction_bits(node.scale("scale_iw")),
        hidden_exponent=fraction_bits(scale) + fraction_bits(node.scale("scale_hw")),
        output_exponent=fraction_bits(scale),
        gates_read_state=reads_state,
    )
    of_input, of_state = (jnp.asarray(call.parameter(i, bits).T.astype(np.int32)) for i in (1, 2))
    bias_of_input, bias_of_state = (jnp.asarray(call.parameter(i, BIAS_BITS).astype(np.int32)) for i in (3, 4))
    steps = jnp.moveaxis(x.value, time_axis, 0)
    states = run_executor_gru(cell, steps, (of_input, of_state), (bias_of_input, bias_of_state))
    y = IntegerTensor(jnp.moveaxis(states, 0, time_axis), scale, node.integer("o_bits"))
    return [y, y.holds(states[-1:])]


RULES: Mapping[OnnxOperator, RunRule] = {
    ops.QLSTM: _layer("lstm", ("hidden", "cell")),
    ops.QGRU: gru,
}

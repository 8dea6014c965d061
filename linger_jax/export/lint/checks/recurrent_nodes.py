"""Checks LSTM and GRU nodes.

Source: docs/specification/onnx_export.md sections 4.3 and 5, docs/specification/executor.md section 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.checks.element_widths import all_of_one_width
from linger_jax.export.lint.finding import Problem, differs, notes, refuses
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.pack_options import PackOptions
from linger_jax.export.lint.program import Program
from linger_jax.export.scratch_memory import behind_state
from linger_jax.kinds import RECURRENT_WEIGHT, TRAIN_EXECUTOR_GRU, USE_THINKER, is_executor_gru
from linger_jax.kinds import onnx_operators as ops

BATCH_FIRST_0 = "lstm_batch_first_0"
TIME_ON_AXIS_1 = "lstm_time_on_axis_1"


def _layers(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    if view.integer("num_layers", 1) != 1:
        yield differs(f"{view.integer('num_layers')} layers", "1 layer a node", "Write one layer for each node")


def _time_axis(view: NodeView, program: Program) -> Iterator[Problem]:
    """The executor reads the time length from axis 1, and only if ``batch_first`` is 0."""
    del program
    shape, batch_first = view.shape(), view.integer("batch_first", 0)
    if shape is None or len(shape) != 3:
        return
    if shape[0] != 1:
        one_sample = not batch_first and shape[1] == 1
        yield differs(
            f"data [{', '.join(map(str, shape))}]",
            "[1, time, features]",
            USE_THINKER if one_sample else "Export with an example of one sample",
            TIME_ON_AXIS_1 if one_sample else "",
        )
    elif batch_first:
        yield differs(f"batch_first {batch_first}", "0, with data [1, time, features]", USE_THINKER, BATCH_FIRST_0)


def _hidden_scale(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    hidden, output = view.number("scale_h"), view.number("scale_o")
    if hidden != output:
        yield differs(
            f"scale_h {hidden}, scale_o {output}",
            "equal scales: the executor keeps the hidden state at scale_o",
            "Train under compat: chip, which has one quantizer for both",
        )


def _initial_state(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    if view.integer("has_hidden", 0) or view.integer("has_cell", 0):
        yield refuses("an initial state", "none: the packer takes it for the weights", "Give the layer no state")


def _prefetch(view: NodeView, program: Program) -> Iterator[Problem]:
    del view, program
    yield notes(
        "weights are prefetched",
        "no prefetch: with the packer's default plan the executor crashes, or is wrong behind a GRU",
        "Give the packer the option",
        PackOptions(prefetch=False),
    )


def _behind_state(view: NodeView, program: Program) -> Iterator[Problem]:
    """Room behind the final state: it shares a block of PSRAM with the output that reserves memory."""
    length = behind_state(program.device, view.operator, view.node.attributes)
    reserving = [v.inputs[0].name for v in program.views if _reserves(v, program) and v.inputs[0] is not None]
    if length and reserving and len(view.outputs) > 1:
        yield notes(
            f"{length} bytes written at a final state of fewer",
            "the state in PSRAM, beside the output that reserves memory",
            "Give the packer the option",
            PackOptions(psram=(view.outputs[1].name, *reserving)),
        )


def _reserves(view: NodeView, program: Program) -> bool:
    return view.operator is ops.DEQUANT and view.outputs[0].name in program.graph.reserving


def _gru(view: NodeView, program: Program) -> Iterator[Problem]:
    if program.device.executor.gru_gates_read_state is None:
        limit = f"what the executor of {program.platform} computes was not measured"
        yield differs(view.node.op, limit, "Use another layer in the place of the GRU")
    elif not is_executor_gru(view.operator, view.shape(RECURRENT_WEIGHT)):
        limit = "the executor keeps gates at Q7 and half of the state, and reads the weights the other way round"
        yield differs(view.node.op, limit, TRAIN_EXECUTOR_GRU)
    else:
        yield from _executor_gru(view)


def _executor_gru(view: NodeView) -> Iterator[Problem]:
    shape, sample = view.shape(), 0 if view.integer("batch_first", 0) else 1
    if shape is not None and len(shape) == 3 and shape[sample] != 1:
        found = f"data [{', '.join(map(str, shape))}], batch_first {1 - sample}"
        yield differs(found, "one sample", "Export with an example of one sample")
    if view.integer("go_forward", 1) != 1:
        yield differs("a sequence that is read backwards", "go_forward 1", f"{USE_THINKER}: it turns the data around")
    yield from all_of_one_width(view)


CHECKS = (
    Check("layers", _layers, ops.RECURRENT),
    Check("time axis", _time_axis, {ops.QLSTM}),
    Check("hidden scale", _hidden_scale, {ops.QLSTM}),
    Check("initial state", _initial_state, ops.RECURRENT),
    Check("weight prefetch", _prefetch, ops.RECURRENT),
    Check("final state", _behind_state, {ops.QLSTM}),
    Check("gru", _gru, {ops.QGRU}),
)

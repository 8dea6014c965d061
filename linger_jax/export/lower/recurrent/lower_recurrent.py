"""LSTM and GRU layers: one node a direction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from linger_jax.config import GruForm
from linger_jax.export.lower.emitter import stored
from linger_jax.export.lower.exported_values import ExportedValue, Grid, TensorValue, flax_order
from linger_jax.export.lower.lower_moves import reversed_along
from linger_jax.export.lower.lower_weighted import reshaped
from linger_jax.export.lower.lowering_step import LoweringStep, lowers
from linger_jax.export.lower.recurrent.lower_primitive_gru import unrolled
from linger_jax.export.onnx import ElementType, integer_type, shape_constant
from linger_jax.kinds import BIAS_BITS, GATES, GRU, LSTM
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics.recurrent import CELL_SCALE, LABEL_SHIFT
from linger_jax.plan.decide import quantizer_name
from linger_jax.plan.graph import GRU_FORM


@lowers(LSTM, GRU)
def recurrent(step: LoweringStep) -> Sequence[ExportedValue]:
    """``QLSTM``, ``QGRU``; two directions are joined by ``QCat``, their final states by ``Concat``.

    The executor's GRU has no direction: a sequence is turned around before and behind it. A GRU of operators is
    unrolled.

    Raises:
      ExportError: variable lengths or an initial state, which no file has but that of a GRU of operators.
    """
    layer = step.node.layer_info
    roles = step.by_role()
    if ("lengths",) in roles:
        raise step.error("variable lengths (seq_lengths) have no form in a file; export with sequences of one length")
    if any(role[0] == "initial" for role in roles) and _form(step) is not GruForm.primitives:
        raise step.error("an initial state (initial_carry) has no form in a file that the chip runs")
    directions, reverse = int(layer.attributes["directions"]), bool(layer.attributes["reverse"])
    results = []
    time = 0 if layer.attributes["time_major"] else 1
    for i in range(directions):
        x = _three_axes(step, step.emit.in_flax_order(step.quantized(0, "input_quantizer")))
        backwards = reverse or i == 1
        if _form(step) is GruForm.primitives:
            hidden, last = unrolled(step, _samples_first(step, x), i, backwards=backwards)
            hidden = reshaped(step, hidden, (*x.shape[:2], hidden.shape[-1])) if time == 0 else hidden
            results.append((hidden, {"h": step.emit.real(_of_samples(step, last))}))
            continue
        turned = backwards and _form(step) is GruForm.executor
        x = reversed_along(step, x, [time]) if turned else x
        hidden, states = _direction(step, x, i, backwards=backwards and not turned)
        results.append((reversed_along(step, hidden, [time]) if turned else hidden, states))
    outputs = [outputs for outputs, _ in results]
    joined = outputs[0] if directions == 1 else _joined(step, outputs)
    if reverse and not layer.attributes["keep_order"]:
        joined = reversed_along(step, joined, [time])
    shape = step.shape(layer.results.index(("output", "0")))
    joined = joined if joined.shape == shape else reshaped(step, joined, shape)
    by_role: dict[Any, ExportedValue] = {("output", "0"): joined}
    for i, (_, states) in enumerate(results):
        by_role |= {("carry", str(i), name): state for name, state in states.items()}
    return [by_role[role] for role in layer.results]


def _form(step: LoweringStep) -> GruForm:
    return GruForm(step.node.attributes.get(GRU_FORM, GruForm.linger))


def _three_axes(step: LoweringStep, x: TensorValue) -> TensorValue:
    """All batch axes in one, or one of length one."""
    if x.rank == 3:
        return x
    if step.node.layer_info.attributes["time_major"]:
        return reshaped(step, x, (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1]))
    return reshaped(step, x, (math.prod(x.shape[:-2]), *x.shape[-2:]))


def _direction(
    step: LoweringStep, x: TensorValue, direction: int, *, backwards: bool
) -> tuple[TensorValue, dict[str, TensorValue]]:
    layer, emit = step.node.layer_info, step.emit
    cell = layer.kind.recurrent_cell
    assert x.grid is not None
    time_major, features = bool(layer.attributes["time_major"]), int(layer.attributes["features"])

    def scale(acts_on: str) -> float:
        return emit.visit.scale(step.quantizer_path(quantizer_name(acts_on, direction)))

    suffix = "_reverse" if direction else ""
    inputs = [x.tensor]
    grids = {
        "weight_ih": scale("weight_ih"),
        "weight_hh": scale("weight_hh"),
        "bias_ih": x.grid.scale * scale("weight_ih"),
        "bias_hh": scale("hidden") * scale("weight_hh"),
    }
    bits = emit.visit.bits(step.quantizer_path(quantizer_name("weight_ih", direction)))
    state_paths = {name: step.quantizer_path(quantizer_name(name, direction)) for name in grids}
    executor_s = _form(step) is GruForm.executor
    biased = executor_s or emit.visit.has(state_paths["bias_ih"]) or emit.visit.has(state_paths["bias_hh"])
    for name, grid in grids.items():
        path = state_paths[name]
        if not emit.visit.has(path):
            if biased:
                # Inputs are told by their place: the bias that Flax's cells do not have is zero.
                none = np.zeros(GATES[cell.name] * features, np.int32)
                inputs.append(emit.graph.constant(f"no_{name}_{none.size}", none))
            continue
        if name.startswith("weight"):
            matrix = emit.visit.steps(path)
            integers = stored(matrix if executor_s else matrix.T, bits)
        else:
            integers = stored(emit.visit.bias_steps(path, grid), BIAS_BITS)
        inputs.append(emit.graph.constant(emit.parameter_name(layer.path, f"{name}_l0{suffix}", path), integers))
    label = 2.0**LABEL_SHIFT if executor_s else 1.0
    output = Grid(scale("output"), emit.visit.bits(step.quantizer_path(quantizer_name("output", direction))))
    attributes = {
        **emit.act(step.node, x, output),
        "input_size": x.shape[-1],
        "hidden_size": features,
        "num_layers": 1,
        "batch_first": int(not time_major),
        "go_forward": int(not backwards),
        "has_hidden": 0,
        "w_bits": bits,
        "scale_iw": scale("weight_ih") / label,
        "scale_hw": scale("weight_hh") / label,
        "scale_h": scale("hidden"),
        "scale_c": CELL_SCALE if layer.kind == LSTM else scale("hidden"),
        "platform": emit.platform,
    }
    if layer.kind == LSTM:
        attributes["has_cell"] = 0
    element_types: list[ElementType] = [integer_type(output.bits)]
    element_types += ["float32" for _ in cell.states]
    tensors = emit.graph.add(
        cell.node,
        inputs,
        element_types=element_types,
        attributes=attributes,
        label=step.node.label,
    )
    shape = (*x.shape[:2], features)
    outputs = emit.made(dataclasses.replace(x, tensor=tensors[0], shape=shape, grid=output, axes=flax_order(3)))
    batch = x.shape[1] if time_major else x.shape[0]
    last = {
        name: _state(step, tensor, batch, (*_outer(step), features))
        for name, tensor in zip(cell.states, tensors[1:], strict=True)
    }
    return outputs, last


def _outer(step: LoweringStep) -> tuple[int, ...]:
    """The batch axes of the input."""
    layer = step.node.layer_info
    given = step.operands[layer.operands.index(("input", "0"))].shape
    return given[1:-1] if layer.attributes["time_major"] else given[:-2]


def _samples_first(step: LoweringStep, x: TensorValue) -> TensorValue:
    """Three axes, the time behind the samples."""
    if not step.node.layer_info.attributes["time_major"]:
        return x
    steps, samples, features = x.shape
    if samples != 1:
        raise step.error("several sequences with their time first have no form in operators; export one of them")
    return reshaped(step, x, (samples, steps, features))


def _of_samples(step: LoweringStep, last: TensorValue) -> TensorValue:
    """The last state without its axis of time."""
    return reshaped(step, last, (*_outer(step), last.shape[-1]))


def _state(step: LoweringStep, tensor: str, batch: int, shape: tuple[int, ...]) -> TensorValue:
    """A final state: a file has it as [1, B, H]."""
    whole = step.emit.made(TensorValue(tensor, (1, batch, shape[-1]), (0, 1, 2), np.dtype(np.float32)))
    constant = shape_constant(step.emit.graph, shape)
    return step.emit.moved(ops.RESHAPE, whole, {}, [constant], shape=shape, axes=flax_order(len(shape)))


def _joined(step: LoweringStep, outputs: Sequence[TensorValue]) -> TensorValue:
    """The coarser of both scales is that of the result (docs/codes.md R8)."""
    grids = [o.grid for o in outputs if o.grid is not None]
    grid = Grid(min(g.scale for g in grids), max(g.bits for g in grids))
    attributes: dict[str, Any] = {
        "axis": 2,
        "o_bits": grid.bits,
        "scale_o": grid.scale,
        "quant_mode": step.emit.round_mode(step.node),
    }
    for i, g in enumerate(grids):
        attributes |= {f"scale_x_{i}": g.scale, f"x_{i}_bits": g.bits}
    shape = (*outputs[0].shape[:-1], sum(o.shape[-1] for o in outputs))
    like = outputs[0].laid(shape, outputs[0].axes)
    return step.emit.integers(ops.QCAT, [o.tensor for o in outputs], grid, like, attributes=attributes, node=step.node)

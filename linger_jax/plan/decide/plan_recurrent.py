"""Planning LSTM and GRU layers (docs/specification/recurrent.md section 1)."""

from __future__ import annotations

import dataclasses

from linger_jax.config import Arithmetic, GruForm
from linger_jax.kinds import GRU, LSTM
from linger_jax.plan.decide.decisions import Bits, Decisions, as_float
from linger_jax.plan.decide.plan_layers import Infos, decides, parameter_stack, where_quantized
from linger_jax.plan.decide.recurrent_parameters import WEIGHTS, weight_pieces
from linger_jax.plan.decide.recurrent_quantizers import RecurrentRole, recurrent_roles, recurrent_spec
from linger_jax.plan.graph import GRU_FORM, Constant, FileLayout, Node
from linger_jax.plan.settings import PlanSettings
from linger_jax.staging import LENGTHS
from linger_jax.targets import target_of
from linger_jax.typing import Path

# A matrix is [in, gates * hidden] here and [gates * hidden, in] in the reference.
_MATRIX_LAYOUT = FileLayout((1, 0))
_EXECUTOR_BITS = 8
_EXECUTOR_STATE_SCALE = 2.0**8
"""The one scale at which the executor's cell keeps its state: it reads half the integer as a number of 7 bits."""


@decides(LSTM, GRU)
@where_quantized
def plan_recurrent(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """Notes the quantizers of a recurrent layer; float, with a warning, where the platform has no kernels."""
    info, config, semantics = node.layer_info, node.config, decisions.settings.semantics
    assert config is not None
    cell, input_bits, stack = info.kind.recurrent_cell, operand_bits[0], parameter_stack(decisions, node, infos)
    platform = decisions.settings.config.platform
    if not info.kind.runs_on(platform) and semantics.missing_kernels_are_float:
        reason = f"{platform.value} has no {info.kind.kernels_in_words}"
        decisions.warn(f"{node.label}: {reason}; {info.type_name} runs as float")
        return as_float(node, reason)
    form, reason = _gru_form(decisions.settings, node, input_bits) if info.kind == GRU else (GruForm.linger, "")
    bits: Bits = None
    for role in recurrent_roles(cell.name, directions=info.attributes["directions"]):
        spec = recurrent_spec(decisions.settings, config, role)
        is_matrix = role.acts_on.startswith("weight")
        decisions.add(
            (*info.path, role.quantizer),
            spec,
            stack,
            active=_is_active(decisions, node, role, input_bits),
            pieces=_parameters(node, infos, role) if role.acts_on in WEIGHTS else (),
            layout=_MATRIX_LAYOUT if is_matrix and semantics.sums_in_file_order else None,
            fixed_scale=_EXECUTOR_STATE_SCALE
            if form is GruForm.executor and role.acts_on in ("hidden", "output")
            else None,
        )
        bits = spec.bits if role.acts_on == "output" else bits
    if semantics.padded_output_is_float and LENGTHS in info.operands:
        bits = None
    attributes = {**node.attributes, GRU_FORM: form} if info.kind == GRU else node.attributes
    node = dataclasses.replace(node, attributes=attributes, reason=reason or node.reason)
    return dataclasses.replace(
        node, quantized=True, bits=tuple(bits if role[0] == "output" else None for role in info.results)
    )


def _gru_form(settings: PlanSettings, node: Node, input_bits: Bits) -> tuple[GruForm, str]:
    """The cell that ``quant_info.gru_form`` asks for, and in words what the executor's loses, or why it is not that."""
    config, platform = node.layer_config, settings.config.platform
    asked = config.quant_info.gru_form
    linger_s = asked is GruForm.linger or config.quant_info.arithmetic is Arithmetic.linger
    if linger_s or not settings.semantics.arithmetic_is_chosen:
        return GruForm.linger, ""
    device = target_of(platform).device
    reads_state = None if device is None else device.executor.gru_gates_read_state
    if reads_state is None:
        return GruForm.linger, f"gru_form linger: {platform.value} has no measured GRU"
    widths = {input_bits or config.input_bits, config.output_bits, config.quant_info.weight_bits}
    if widths != {_EXECUTOR_BITS}:
        return GruForm.linger, f"gru_form linger: {asked.value} has {_EXECUTOR_BITS} bits throughout"
    if asked is GruForm.primitives:
        return asked, ""
    lost = f"gates of 7 bits, state within +-{2 ** (_EXECUTOR_BITS - 1) / _EXECUTOR_STATE_SCALE:g}"
    return GruForm.executor, lost if reads_state else f"{lost}, reset and update gate do not read the state"


def _is_active(decisions: Decisions, node: Node, role: RecurrentRole, input_bits: Bits) -> bool:
    layer = node.layer_info
    match role.acts_on:
        case "input":
            return input_bits is None
        case "cell":
            return False  # only its scale is used, and that is a constant
        case "bias_ih" | "bias_hh":
            return any(weight_pieces(layer.kind.recurrent_cell.name, role.acts_on, role.direction, layer.operands))
        case _:
            return True


def _parameters(node: Node, infos: Infos, role: RecurrentRole) -> tuple[Path, ...]:
    """The parameters that a weight is made of, where the layer gets every one of them as it is stored."""
    layer = node.layer_info
    atoms = dict(zip(layer.operands, node.inputs, strict=True))
    found: list[Path] = []
    for piece in weight_pieces(layer.kind.recurrent_cell.name, role.acts_on, role.direction, layer.operands):
        if piece is None:
            continue
        atom = atoms[piece]
        parameter = None if isinstance(atom, Constant) or not infos[atom].direct else infos[atom].parameter
        if parameter is None:
            return ()
        found.append(parameter)
    return tuple(found)

"""Planning LSTM and GRU layers (docs/specification/recurrent.md section 1)."""

from __future__ import annotations

import dataclasses

from linger_jax.kinds import GRU, LSTM
from linger_jax.plan.decide.decisions import Bits, Decisions, as_float
from linger_jax.plan.decide.plan_layers import Infos, decides, parameter_stack, where_quantized
from linger_jax.plan.decide.recurrent_parameters import WEIGHTS, weight_pieces
from linger_jax.plan.decide.recurrent_quantizers import RecurrentRole, recurrent_roles, recurrent_spec
from linger_jax.plan.graph import Constant, FileLayout, Node
from linger_jax.staging import LENGTHS
from linger_jax.typing import Path

# A matrix is [in, gates * hidden] here and [gates * hidden, in] in the reference.
_MATRIX_LAYOUT = FileLayout((1, 0))


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
        )
        bits = spec.bits if role.acts_on == "output" else bits
    if semantics.padded_output_is_float and LENGTHS in info.operands:
        bits = None
    return dataclasses.replace(
        node, quantized=True, bits=tuple(bits if role[0] == "output" else None for role in info.results)
    )


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

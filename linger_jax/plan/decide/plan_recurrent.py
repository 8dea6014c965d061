"""Planning LSTM and GRU layers (docs/specification/recurrent.md section 1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from linger_jax.kinds import CellKind
from linger_jax.plan.decide.decisions import Bits, Decisions, as_float
from linger_jax.plan.decide.recurrent_parameters import WEIGHTS, weight_pieces
from linger_jax.plan.decide.recurrent_quantizers import RecurrentRole, recurrent_roles, recurrent_spec
from linger_jax.plan.graph import Constant, FileLayout, Node, Scan, ValueId, ValueInfo
from linger_jax.staging import LENGTHS
from linger_jax.targets import target_of
from linger_jax.typing import Path

# A matrix is [in, gates * hidden] here and [gates * hidden, in] in the reference.
_MATRIX_LAYOUT = FileLayout((1, 0))


def plan_recurrent(
    decisions: Decisions,
    node: Node,
    infos: Mapping[ValueId, ValueInfo],
    input_bits: Bits,
    stack: tuple[Scan, ...],
) -> Node:
    """Notes the quantizers of a recurrent layer; float, with a warning, where the platform has no kernels.

    Args:
      decisions: what has been decided; written to.
      node: the layer, with site and configuration.
      infos: of the values around it.
      input_bits: bits of its input, if that is a QTensor.
      stack: the scans that iterate over its parameters.
    """
    info, config, semantics = node.layer, node.config, decisions.settings.semantics
    assert info is not None
    assert config is not None
    kind: CellKind = info.kind  # type: ignore[assignment]
    platform = decisions.settings.config.platform
    if target_of(platform).kernels is None and semantics.missing_kernels_are_float:
        reason = f"{platform.value} has no sigmoid and tanh kernels"
        decisions.warn(f"{node.label}: {reason}; {info.type_name} runs as float")
        return as_float(node, reason)
    bits: Bits = None
    for role in recurrent_roles(kind, directions=info.attributes["directions"]):
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
    assert node.layer is not None
    match role.acts_on:
        case "input":
            return input_bits is None
        case "cell":
            return False  # only its scale is used, and that is a constant
        case "bias_ih" | "bias_hh":
            return any(weight_pieces(node.layer.kind, role.acts_on, role.direction, node.layer.operands))  # type: ignore[arg-type]
        case _:
            return True


def _parameters(node: Node, infos: Mapping[ValueId, ValueInfo], role: RecurrentRole) -> tuple[Path, ...]:
    """The parameters that a weight is made of, where the layer gets every one of them as it is stored."""
    layer = node.layer
    assert layer is not None
    atoms = dict(zip(layer.operands, node.inputs, strict=True))
    found: list[Path] = []
    for piece in weight_pieces(layer.kind, role.acts_on, role.direction, layer.operands):  # type: ignore[arg-type]
        if piece is None:
            continue
        atom = atoms[piece]
        parameter = None if isinstance(atom, Constant) or not infos[atom].direct else infos[atom].parameter
        if parameter is None:
            return ()
        found.append(parameter)
    return tuple(found)

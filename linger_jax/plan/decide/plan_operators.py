"""Planning operators: what passes a scale on, what is quantized under a name, and why the rest is float."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from linger_jax.errors import UnsupportedError
from linger_jax.kinds import CAT, GELU, JOIN, MOVED, MOVES, STACK, TABLE, GridOf, OperatorKind
from linger_jax.numerics.chip_kernels import fixed_scale
from linger_jax.numerics.look_up import OPERAND_BITS
from linger_jax.plan.decide.clipped_constants import clipped_constant
from linger_jax.plan.decide.decisions import Bits, Decisions, as_float
from linger_jax.plan.decide.plan_layers import Infos, decides
from linger_jax.plan.decide.quantizer_specs import operator_spec
from linger_jax.plan.graph import COMPUTED_FROM, NO_TABLE, Constant, Node, Owner, ValueInfo
from linger_jax.plan.recognize import SCALAR_DIVISION, as_multiplication, host_lacks

# Products that are a layer of their own when one operand is a parameter (docs/decisions.md D23).
PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
_JOINABLE_BY_REFERENCE = 2
_ONE_GELU = "the tanh form, by the chip's one gelu kernel; the forms differ by less than 5e-4"


def plan_operator(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """Decides a step that is not a layer.

    Raises:
      PlatformLimitError: a pool outside the platform's limits.
      UnsupportedError: under ``compat: reference``, a concatenation of more than two values.
    """
    carried = next((b for b in operand_bits if b is not None), None)
    if node.op == SCALAR_DIVISION:
        multiplies = carried is not None and decisions.settings.semantics.divisions_multiply
        node = as_multiplication(node) if multiplies else dataclasses.replace(node, op="div")
    move = MOVES.get(node.op)
    if move is not None and move.grid is GridOf.each and carried is not None:
        return dataclasses.replace(node, op=MOVED.name, bits=operand_bits, quantized=True)
    if move is not None and move.grid not in (None, GridOf.each) and operand_bits and operand_bits[0] is not None:
        return _moved(decisions, node, infos, operand_bits)
    decide = decides.get(node.kind)
    if decide is not None:
        return decide(decisions, node, infos, operand_bits)
    parameter_reason = _parameter_reason(decisions, node, infos)
    if carried is None and not parameter_reason:
        return as_float(node)
    if not any(jnp.issubdtype(infos[v].dtype, jnp.inexact) for v in node.outputs):
        return as_float(node)  # a comparison or an index: no scale is lost
    if all(0 in infos[v].shape for v in node.outputs):
        return as_float(node)  # no elements (jax.lax.associative_scan adds such): there is nothing to quantize
    owner, reason = decisions.owner(node)
    if owner is None:
        return as_float(node, reason)
    if carried is None:
        return as_float(node, parameter_reason)
    kind = node.kind
    if not isinstance(kind, OperatorKind):
        return as_float(node, _no_form(decisions, node, infos, operand_bits))
    why = _float_reason(decisions, node, kind) or _not_float32(infos[node.outputs[0]])
    if why is not None:
        return as_float(node, why)
    return _quantized(decisions, node, infos, kind, owner, operand_bits)


def _quantized(
    decisions: Decisions, node: Node, infos: Infos, kind: OperatorKind, owner: Owner, operand_bits: tuple[Bits, ...]
) -> Node:
    """The node with its name and its quantizers: one for each operand, one for the result.

    Source: docs/specification/ops.md section 3.
    """
    settings = decisions.settings
    config = settings.config.for_path(".".join(owner.path))
    entering, leaving = operator_spec(settings, config, "input"), operator_spec(settings, config, "output")
    state_path = decisions.name(owner, kind.stem, counter="tables" if kind == TABLE else "operators")
    inputs = tuple((*state_path, "input_quantizer", str(i)) for i in range(len(operand_bits)))
    for path, bits, atom in zip(inputs, operand_bits, node.inputs, strict=True):
        shape = atom.shape if isinstance(atom, Constant) else infos[atom].shape
        decisions.add(path, entering, decisions.parameter_scans, active=bits is None and 0 not in shape)
    pinned = settings.config.platform in kind.fixed_scale_on
    decisions.add(
        (*state_path, "output_quantizer"),
        leaving,
        decisions.parameter_scans,
        active=True,
        fixed_scale=fixed_scale(leaving.bits) if pinned and settings.semantics.fixed_scales_always_hold else None,
        limited_by=inputs if kind.is_limited else (),
    )
    node = dataclasses.replace(node, state_path=state_path, config=config, quantized=True, bits=(leaving.bits,))
    remarks = [node.reason] if node.reason else [_ONE_GELU] if _is_tanh_gelu(node) else []
    if settings.semantics.warns_of_clipped_constants:
        clipped = [text for a in node.inputs if (text := clipped_constant(a, entering)) is not None]
        for text in clipped:
            decisions.warn(f"{_place(node)}: {text}")
        remarks += clipped
    return dataclasses.replace(node, reason="; ".join(remarks))


def _place(node: Node) -> str:
    return f"{node.label} at {node.source}" if node.source else node.label


def _is_tanh_gelu(node: Node) -> bool:
    return node.kind == GELU and node.attributes.get("approximate") is True


def _float_reason(decisions: Decisions, node: Node, kind: OperatorKind) -> str | None:
    """Why a known operator stays float here; None where it is quantized.

    Raises:
      UnsupportedError: under ``compat: reference``, a concatenation of more than two values.
    """
    semantics, platform = decisions.settings.semantics, decisions.settings.config.platform
    disabled = decisions.settings.disabled_operator(kind)
    if disabled is not None:
        return disabled
    if node.op == STACK and not semantics.joins_any_number:
        return "stack is float in linger (compat: reference)"
    if kind == CAT and len(node.inputs) > _JOINABLE_BY_REFERENCE and not semantics.joins_any_number:
        raise UnsupportedError(
            f"{node.label}: linger concatenates two values, not {len(node.inputs)} (compat: reference); "
            "nest the concatenations, or use compat: chip"
        )
    if _is_tanh_gelu(node) and not semantics.gelu_forms_are_one:
        return "gelu in its tanh form is float in linger (compat: reference)"
    if not kind.runs_on(platform) and semantics.missing_kernels_are_float:
        reason = f"{platform.value} has no {kind.name} kernel"
        decisions.warn(f"{_place(node)}: {reason}; {kind.name} runs as float")
        return reason
    return None


def _no_form(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> str:
    name = node.attributes.get("name", node.op)
    why = _why_no_table(decisions, node, infos, operand_bits)
    return f"{name} has no quantized form{f' ({why})' if why else ''}; its operand leaves the integer grid here"


def _why_no_table(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> str:
    """Why a function of each element is no table; empty for everything else."""
    if not decisions.settings.semantics.functions_are_tables or host_lacks(node) is not None:
        return ""
    if NO_TABLE in node.attributes:
        return f"no table: {node.attributes[NO_TABLE]}"
    computed = [(a, bits) for a, bits in zip(node.inputs, operand_bits, strict=True) if not isinstance(a, Constant)]
    for atom, bits in computed:
        parameter = infos[atom].parameter
        if bits is None and parameter is not None:
            return f"no table: it depends on the variable {'.'.join(parameter)}"
    if len(computed) > 1:
        return "no table: it reads several computed values"
    disabled = decisions.settings.disabled_operator(TABLE)
    if disabled is not None:
        return f"no table: {disabled}"
    widest = max((bits for _, bits in computed if bits is not None), default=0)
    return f"no table: {widest} bits, and tables have {OPERAND_BITS}" if widest > OPERAND_BITS else ""


def _not_float32(info: ValueInfo) -> str | None:
    return None if info.dtype == np.float32 else f"{info.dtype} result: quantization is exact in float32 only"


def _parameter_reason(decisions: Decisions, node: Node, infos: Infos) -> str:
    """Why a product with a parameter is no layer (docs/decisions.md D23); empty for other products and operators."""
    if node.op not in PRODUCTS:
        return ""
    if decisions.settings.config.quantizes_custom_layers:
        sources = node.attributes.get(COMPUTED_FROM, ())
        return f"its weight is computed from {', '.join(sources)}, not a view of a parameter" if sources else ""
    parameters = [infos[atom].parameter for atom in node.inputs if not isinstance(atom, Constant)]
    multiplies = any(parameter is not None and parameter[0] == "params" for parameter in parameters)
    return "disabled by custom_layers: false" if multiplies else ""


def _moved(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    bits = operand_bits[0]
    dtype = infos[node.outputs[0]].dtype
    if dtype != np.float32:
        return as_float(node, f"cast to {dtype}: the scale is dropped")
    if node.op == "pad" and decisions.settings.semantics.pads_with_zero_only and not _is_zero(node.inputs[1]):
        return as_float(node, "pad with another value than zero: it is not on every grid")
    if node.op == JOIN.name and any(b is None for b in operand_bits):
        return as_float(node, f"{node.primitive} of a quantized value and a float")
    results = tuple(bits if infos[v].dtype == np.float32 else None for v in node.outputs)
    return dataclasses.replace(node, op=MOVED.name, bits=results, quantized=True)


def _is_zero(atom: object) -> bool:
    return isinstance(atom, Constant) and atom.is_scalar(0.0)

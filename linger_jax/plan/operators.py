"""Planning operators: what passes a scale on, what is quantized under a name, and why the rest is float."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from linger_jax.plan.graph import Constant, Node
from linger_jax.plan.layers import Infos
from linger_jax.plan.planning import Bits, Planning, as_float
from linger_jax.plan.pools import plan_average_pool, plan_max_pool
from linger_jax.plan.primitives import JOIN, PARALLEL, SELECTING, STRUCTURAL
from linger_jax.plan.specs import operator_spec
from linger_jax.staging.marker import Path

# Operators of two or more operands: primitive -> name of the operator layer (spec/ops.md section 7).
OPERATORS: Mapping[str, str] = {
    "add": "qadd",
    "mul": "qmul",
    "dot_general": "qmatmul",
    "concatenate": "qcat",
    "stack": "qcat",
}
PASSES = frozenset({"relu", "relu6"})
# Recognised functions whose integer kernel is not built yet: one line in the coverage table each.
FLOAT_FUNCTIONS = frozenset({"gelu", "softmax", "logistic", "tanh"})
# Products that are a layer of their own when one operand is a parameter (decision D23).
PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})


def plan_operator(planning: Planning, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """Decides a step that is not a layer.

    Raises:
      PlatformLimitError: a pool outside the platform's limits.
    """
    carried = next((b for b in operand_bits if b is not None), None)
    if node.op in PARALLEL and carried is not None:
        return dataclasses.replace(node, op="structural", bits=operand_bits, quantized=True)
    if node.op in STRUCTURAL | SELECTING | {JOIN} and operand_bits and operand_bits[0] is not None:
        return _structural(planning, node, infos, operand_bits)
    if node.op in PASSES and carried is not None:
        return dataclasses.replace(node, bits=(carried,), quantized=True)
    if node.op == "reduce_window_max" and carried is not None:
        return plan_max_pool(planning, node, infos, carried)
    if node.op == "avg_pool" and (carried is not None or not node.attributes["whole_plane"]):
        return plan_average_pool(planning, node, infos, operand_bits)
    parameter = _parameter_operand(node, infos)
    if carried is None and parameter is None:
        return as_float(node)
    if not any(np.issubdtype(infos[v].dtype, np.inexact) for v in node.outputs):
        return as_float(node)  # a comparison or an index: no scale is lost
    owner, reason = planning.owner(node)
    if owner is None:
        return as_float(node, reason)
    if parameter is not None and planning.settings.config.quantizes_custom_layers:
        return as_float(node, f"product of parameter {'.'.join(parameter)}: custom layers are not built yet")
    if carried is None:
        return as_float(node, "disabled by custom_layers: false")
    if node.op not in OPERATORS:
        return as_float(node, _float_reason(node))
    if infos[node.outputs[0]].dtype != np.float32:
        return as_float(node, f"{infos[node.outputs[0]].dtype} result: quantization is exact in float32 only")
    config = planning.settings.config.for_path(".".join(owner.path))
    spec = operator_spec(planning.settings, config)
    site = planning.name(owner, f"_linger_qtensor_{OPERATORS[node.op]}", counter="operators")
    for i, bits in enumerate(operand_bits):
        planning.add((*site, "input_quantizer", str(i)), spec, planning.parameter_scans, active=bits is None)
    planning.add((*site, "output_quantizer"), spec, planning.parameter_scans, active=True)
    return dataclasses.replace(node, site=site, config=config, quantized=True, bits=(spec.bits,))


def _float_reason(node: Node) -> str:
    if node.op in FLOAT_FUNCTIONS:
        return f"{node.op} has no integer kernel yet"
    return f"{node.attributes.get('name', node.op)} has no quantized form; its operand leaves the integer grid here"


def _parameter_operand(node: Node, infos: Infos) -> Path | None:
    """The parameter that a product outside the known layers multiplies with (decision D23)."""
    if node.op not in PRODUCTS:
        return None
    for atom in node.inputs:
        parameter = None if isinstance(atom, Constant) else infos[atom].parameter
        if parameter is not None and parameter[0] == "params":
            return parameter
    return None


def _structural(planning: Planning, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    bits = operand_bits[0]
    dtype = infos[node.outputs[0]].dtype
    if dtype != np.float32:
        return as_float(node, f"cast to {dtype}: the scale is dropped")
    if node.op == "pad" and planning.settings.choices.pads_with_zero_only and not _is_zero(node.inputs[1]):
        return as_float(node, "pad with another value than zero: it is not on every grid")
    if node.op == JOIN and any(b is None for b in operand_bits):
        return as_float(node, f"{node.attributes['primitive']} of a quantized value and a float")
    results = tuple(bits if infos[v].dtype == np.float32 else None for v in node.outputs)
    return dataclasses.replace(node, op="structural", bits=results, quantized=True)


def _is_zero(atom: object) -> bool:
    return isinstance(atom, Constant) and atom.is_scalar(0.0)

"""Deciding, node by node, what is quantized: straight lines, remat and scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from linger_jax.compat import REMAT, SCAN
from linger_jax.plan.decide.decisions import Bits, Decisions, as_float
from linger_jax.plan.decide.plan_layers import plan_layer
from linger_jax.plan.decide.plan_operators import plan_operator
from linger_jax.plan.graph import (
    CARRIED,
    CARRY_BITS,
    LOST,
    SCAN_ID,
    STACKED,
    USED,
    Constant,
    Graph,
    Node,
    Scan,
    ValueId,
    ValueInfo,
)
from linger_jax.plan.recognize import FunctionRegions


def plan_graph(decisions: Decisions, graph: Graph, input_bits: tuple[Bits, ...]) -> tuple[Graph, tuple[Bits, ...]]:
    """Plans a region.

    Args:
      decisions: what has been decided; written to.
      graph: the recognised graph.
      input_bits: bits of each input that is a QTensor.

    Returns:
      The decided graph and the bits of its outputs.
    """
    bits: dict[ValueId, Bits] = dict(zip(graph.inputs, input_bits, strict=True))
    regions = FunctionRegions(graph, decisions.settings, lambda node: decisions.owner(node)[0] is not None)
    for value, width in bits.items():
        regions.enter(value, width)
    nodes = []
    for index in range(len(graph.nodes)):
        raw = regions.at(index)
        if raw is None:
            continue
        operand_bits = tuple(None if isinstance(a, Constant) else bits[a] for a in raw.inputs)
        node = _plan_node(decisions, raw, graph.infos, operand_bits)
        for value, width in zip(node.outputs, node.bits or (None,) * len(node.outputs), strict=True):
            bits[value] = width
            regions.enter(value, width)
        nodes.append(node)
    outputs = tuple(None if isinstance(a, Constant) else bits[a] for a in graph.outputs)
    return dataclasses.replace(graph, nodes=tuple(nodes)), outputs


def _plan_node(
    decisions: Decisions, node: Node, infos: Mapping[ValueId, ValueInfo], operand_bits: tuple[Bits, ...]
) -> Node:
    if node.op == REMAT:
        return _plan_remat(decisions, node, operand_bits)
    if node.op == SCAN:
        return _plan_scan(decisions, node, operand_bits)
    if node.op == LOST:
        return node
    if node.layer is not None:
        return plan_layer(decisions, node, infos, operand_bits)
    if decisions.settings.purpose != "quantize":
        return as_float(node)
    return plan_operator(decisions, node, infos, operand_bits)


def _plan_remat(decisions: Decisions, node: Node, operand_bits: tuple[Bits, ...]) -> Node:
    before = decisions.begin_region()
    body, bits = plan_graph(decisions, node.loop_body, operand_bits)
    attributes = {**node.attributes, USED: decisions.end_region(before)}
    return dataclasses.replace(node, body=body, bits=bits, attributes=attributes)


def _plan_scan(decisions: Decisions, node: Node, operand_bits: tuple[Bits, ...]) -> Node:
    """A scan: a carry stays a QTensor where the body returns it with the bits it came with.

    The attributes of the decided node say which quantizer state is ``stacked`` (a slice for each iteration), which is
    ``carried`` from one iteration to the next, and the bits of each carry.
    """
    fixed, carried = node.attributes["consts"], node.attributes["carry"]
    scan: Scan = node.attributes[SCAN_ID]
    infos = [node.loop_body.infos[v] for v in node.loop_body.inputs]
    iterates = any(scan in info.stack and info.parameter and info.parameter[0] == "params" for info in infos)
    around = decisions.scans, decisions.parameter_scans
    decisions.scans = (*decisions.scans, scan)
    decisions.parameter_scans = (*decisions.parameter_scans, scan) if iterates else decisions.parameter_scans
    before = decisions.begin_region()
    carry = list(operand_bits[fixed : fixed + carried])
    dropped = 0
    while True:
        inputs = (*operand_bits[:fixed], *carry, *(None for _ in operand_bits[fixed + carried :]))
        body, outputs = plan_graph(decisions, node.loop_body, inputs)
        unstable = [i for i in range(carried) if carry[i] is not None and carry[i] != outputs[i]]
        if not unstable:
            break
        for i in unstable:
            carry[i] = None
        dropped += len(unstable)
        decisions.restart_region(before)
    used = decisions.end_region(before)
    decisions.scans, decisions.parameter_scans = around
    lost = dropped + sum(o is not None and c is None for c, o in zip(carry, outputs[:carried], strict=True))
    lost += sum(o is not None for o in outputs[carried:])
    reason = f"{lost} value(s) leave an iteration as float: no single scale describes them" if lost else ""
    stacked = tuple(path for path in used if scan in decisions.stack_of(path))
    attributes = {
        **node.attributes,
        CARRY_BITS: tuple(carry),
        STACKED: stacked,
        CARRIED: tuple(path for path in used if path not in stacked),
    }
    bits = (*carry, *(None for _ in outputs[carried:]))
    return dataclasses.replace(node, body=body, bits=bits, reason=reason, attributes=attributes)

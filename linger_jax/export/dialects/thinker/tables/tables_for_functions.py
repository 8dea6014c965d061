"""The rewrite: which functions become tables.

Source: docs/specification/executor.md section 4, rows ``lut_by_linear`` and ``lut``.
"""

from __future__ import annotations

from linger_jax.export.dialects.dialect import Destination
from linger_jax.export.dialects.thinker.tables.look_up import write_look_up
from linger_jax.export.dialects.thinker.tables.one_tensor import function_around
from linger_jax.export.dialects.thinker.tables.tabulate import tabulated
from linger_jax.export.onnx import GraphNode, OnnxGraph
from linger_jax.kinds import Role
from linger_jax.targets import Device


def tables_for_functions(graph: OnnxGraph, destination: Destination) -> None:
    """A function that the chip does not compute is a table of its 256 results, with its neighbours.

    What stands beside it and is a function of the same tensor joins the table, which costs no more for that. Functions
    of wider tensors, and those that the executor computes as evaluation does, stay what they are.
    """
    device = destination.device
    if device is None or device.look_up is None:
        return
    written: set[int] = set()
    for node in list(graph.nodes):
        if id(node) in written or not needs_table(node, device):
            continue
        function = function_around(graph, node)
        if function is None:
            continue
        if write_look_up(graph, function, tabulated(graph, function), device.look_up):
            written |= {id(n) for n in function.nodes}


def needs_table(node: GraphNode, device: Device) -> bool:
    """Whether a node computes a function of one tensor that the chip has not, or not at these widths and scales."""
    operator = node.operator
    if not operator.quantized or not operator.pointwise or operator.inputs.count(Role.data) != 1:
        return False
    if operator.packing.refusal is not None:
        return True
    if operator.name not in device.functions:
        return False
    form = device.functions[operator.name]
    return form is None or not form.is_of(node.attributes)

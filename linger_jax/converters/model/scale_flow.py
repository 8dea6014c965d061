"""Which place of quantizers reads the result of which: linger keeps the scale of what enters a layer, too."""

from __future__ import annotations

from collections.abc import Mapping

from linger_jax.plan import Constant, Graph, Node, Plan
from linger_jax.typing import Path

Places = dict[int, Path]


def entering_places(plan: Plan) -> Mapping[Path, Path]:
    """The place whose result enters a place, where that is one and its scale is handed on.

    In a checkpoint ``input_quantizer.scale`` of the one is then ``output_quantizer.scale`` of the other
    (docs/specification/quantizers.md section 9).
    """
    found: dict[Path, Path] = {}
    _region(plan.graph, {}, found)
    return found


def _region(graph: Graph, places: Places, found: dict[Path, Path]) -> Places:
    """Adds what a region tells; returns the place that each value took its scale from."""
    for node in graph.nodes:
        entering = [places[atom] for atom in node.inputs if not isinstance(atom, Constant) and atom in places]
        if node.body is not None:
            pairs = zip(node.body.inputs, node.inputs, strict=True)
            inner = {i: places[o] for i, o in pairs if not isinstance(o, Constant) and o in places}
            inner = _region(node.body, inner, found)
            results = zip(node.outputs, node.body.outputs, strict=True)
            places |= {o: inner[i] for o, i in results if not isinstance(i, Constant) and i in inner}
        elif node.state_path is not None and node.quantized:
            if len(entering) == 1:
                found[node.state_path] = entering[0]
            places[node.outputs[0]] = node.state_path
        elif len(entering) == 1 and _hands_on(node):
            places |= dict.fromkeys(node.outputs, entering[0])
    return places


def _hands_on(node: Node) -> bool:
    return any(bits is not None for bits in node.bits)

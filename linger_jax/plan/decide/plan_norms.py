"""Planning LayerNorms: the chip's one epsilon and the length of a row (docs/specification/layers.md section 6)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

from linger_jax.numerics.normalization import EPSILON, check_length
from linger_jax.plan.decide.decisions import Decisions
from linger_jax.plan.graph import Constant, Node, ValueId, ValueInfo
from linger_jax.plan.settings import PlanSettings


def plan_layer_norm(decisions: Decisions, node: Node, infos: Mapping[ValueId, ValueInfo], bits: int) -> Node:
    """Checks the length of a quantized LayerNorm's rows and notes an epsilon that is not the chip's.

    Args:
      decisions: what has been decided.
      node: the layer.
      infos: of the node's graph.
      bits: of its input.

    Raises:
      PlatformLimitError: rows too long for their bits.
    """
    assert node.layer is not None
    x = node.inputs[node.layer.operands.index(("input", "0"))]
    shape = x.shape if isinstance(x, Constant) else infos[x].shape
    check_length(node.label, math.prod(shape[len(shape) - node.layer.attributes["axes"] :]), bits)
    if not decisions.settings.semantics.warns_of_epsilon or not _differs(node):
        return node
    return dataclasses.replace(node, reason=f"epsilon {EPSILON:g} instead of {node.layer.attributes['epsilon']:g}")


def replaced_epsilons(nodes: Iterable[Node], settings: PlanSettings) -> tuple[str, ...]:
    """One warning that names all quantized LayerNorms whose epsilon the chip replaces, if there are any."""
    if settings.purpose != "quantize" or not settings.semantics.warns_of_epsilon:
        return ()
    replaced = [node.label for node in nodes if node.op == "layer_norm" and node.quantized and _differs(node)]
    names = dict.fromkeys(replaced)
    if not names:
        return ()
    return (
        f"LayerNorm is computed with epsilon {EPSILON:g}, the only one the chip has, in {', '.join(names)}: "
        f"write nn.LayerNorm(epsilon={EPSILON:g}) to train what runs",
    )


def _differs(node: Node) -> bool:
    assert node.layer is not None
    return bool(node.layer.attributes["epsilon"] != EPSILON)

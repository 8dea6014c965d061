"""Planning LayerNorms: the chip's one epsilon and the length of a row (docs/specification/layers.md section 6)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from linger_jax.kinds import LAYER_NORM
from linger_jax.numerics.normalization import EPSILON, check_length
from linger_jax.plan.decide.decisions import Bits, Decisions
from linger_jax.plan.decide.plan_layers import Infos, decides, weighted_layer, where_quantized
from linger_jax.plan.graph import Constant, Node
from linger_jax.plan.settings import PlanSettings


@decides(LAYER_NORM)
@where_quantized
def plan_layer_norm(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """Checks the length of a LayerNorm's rows and notes an epsilon that is not the chip's.

    Raises:
      PlatformLimitError: rows too long for their bits.
    """
    x = node.inputs[node.layer_info.operands.index(("input", "0"))]
    shape = x.shape if isinstance(x, Constant) else infos[x].shape
    bits = operand_bits[0] or node.layer_config.input_bits
    check_length(node.label, math.prod(shape[len(shape) - node.layer_info.attributes["axes"] :]), bits)
    if decisions.settings.semantics.warns_of_epsilon and _differs(node):
        text = f"epsilon {EPSILON:g} instead of {node.layer_info.attributes['epsilon']:g}"
        node = dataclasses.replace(node, reason=text)
    return weighted_layer(decisions, node, infos, operand_bits)


def replaced_epsilons(nodes: Iterable[Node], settings: PlanSettings) -> tuple[str, ...]:
    """One warning that names all quantized LayerNorms whose epsilon the chip replaces, if there are any."""
    if settings.purpose != "quantize" or not settings.semantics.warns_of_epsilon:
        return ()
    replaced = [node.label for node in nodes if node.kind == LAYER_NORM and node.quantized and _differs(node)]
    names = dict.fromkeys(replaced)
    if not names:
        return ()
    return (
        f"LayerNorm is computed with epsilon {EPSILON:g}, the only one the chip has, in {', '.join(names)}: "
        f"write nn.LayerNorm(epsilon={EPSILON:g}) to train what runs",
    )


def _differs(node: Node) -> bool:
    return bool(node.layer_info.attributes["epsilon"] != EPSILON)

"""Planning LayerNorms: the chip's one epsilon and the length of a row (docs/specification/layers.md section 6)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from linger_jax.config import Arithmetic
from linger_jax.kinds import LAYER_NORM
from linger_jax.numerics.normalization import EPSILON, EXECUTOR_ROWS, KERNEL_ROWS, RowArithmetic, check_length
from linger_jax.plan.decide.decisions import Bits, Decisions
from linger_jax.plan.decide.plan_layers import Infos, decides, weighted_layer, where_quantized
from linger_jax.plan.graph import ROWS, Constant, Node
from linger_jax.plan.settings import PlanSettings
from linger_jax.targets import target_of


@decides(LAYER_NORM)
@where_quantized
def plan_layer_norm(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """Chooses the arithmetic of a LayerNorm's rows, checks their length and notes an epsilon that is not the chip's.

    Raises:
      PlatformLimitError: rows too long for their bits.
    """
    x = node.inputs[node.layer_info.operands.index(("input", "0"))]
    shape = x.shape if isinstance(x, Constant) else infos[x].shape
    bits = operand_bits[0] or node.layer_config.input_bits
    count = math.prod(shape[len(shape) - node.layer_info.attributes["axes"] :])
    check_length(node.label, count, bits)
    arithmetic, reasons = _arithmetic(decisions.settings, node, count, bits)
    if decisions.settings.semantics.warns_of_epsilon and _differs(node):
        reasons.append(f"epsilon {EPSILON:g} instead of {node.layer_info.attributes['epsilon']:g}")
    attributes = {**node.attributes, ROWS: arithmetic}
    node = dataclasses.replace(node, attributes=attributes, reason="; ".join(reasons))
    return weighted_layer(decisions, node, infos, operand_bits)


def _arithmetic(settings: PlanSettings, node: Node, count: int, bits: int) -> tuple[RowArithmetic, list[str]]:
    """The arithmetic that ``quant_info.arithmetic`` asks for, and why it is not that of the executor."""
    asked = node.layer_config.quant_info.arithmetic
    if asked is Arithmetic.linger or not settings.semantics.arithmetic_is_chosen:
        return KERNEL_ROWS, []
    platform = settings.config.platform
    device = target_of(platform).device
    if device is None or not device.executor.normalizes_rows:
        return KERNEL_ROWS, [f"arithmetic linger: {platform.value} has no measured LayerNorm"]
    longest = EXECUTOR_ROWS.longest(bits)
    if count > longest:
        return KERNEL_ROWS, [f"arithmetic linger: the executor's rows hold at most {longest} values of {bits} bits"]
    return EXECUTOR_ROWS, []


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

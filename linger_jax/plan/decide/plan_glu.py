"""Planning GLU, a layer of the reference that is a function in Flax (docs/specification/layers.md section 10)."""

from __future__ import annotations

import dataclasses

from linger_jax.numerics.chip_kernels import SIGMOID_GATE_FRACTION_BITS
from linger_jax.plan.decide.decisions import Bits, Decisions, as_float
from linger_jax.plan.decide.quantizer_specs import layer_spec
from linger_jax.plan.graph import Node
from linger_jax.targets import target_of


def plan_glu(decisions: Decisions, node: Node, bits: Bits) -> Node:
    """A GLU with its three quantizers; the sigmoid's has one scale for good.

    Args:
      decisions: what has been decided; written to.
      node: the recognised function; a float operand gets an input quantizer, since GLU is a layer.
      bits: of its operand, where that is a QTensor.
    """
    settings = decisions.settings
    owner, reason = decisions.owner(node)
    if owner is None:
        return as_float(node, reason)
    platform = settings.config.platform
    if target_of(platform).kernels is None and settings.semantics.missing_kernels_are_float:
        reason = f"{platform.value} has no sigmoid kernel"
        decisions.warn(f"{node.label}{f' at {node.source}' if node.source else ''}: {reason}; glu runs as float")
        return as_float(node, reason)
    config = settings.config.for_path(".".join(owner.path))
    state_path = decisions.name(owner, "_linger_glu", counter="glu")
    scans = decisions.parameter_scans
    decisions.add((*state_path, "input_quantizer"), layer_spec(settings, config, "input"), scans, active=bits is None)
    decisions.add(
        (*state_path, "sigmoid_quantizer"),
        layer_spec(settings, config, "bias"),
        scans,
        active=True,
        fixed_scale=2.0**SIGMOID_GATE_FRACTION_BITS if settings.semantics.fixed_scales_always_hold else None,
    )
    decisions.add((*state_path, "output_quantizer"), layer_spec(settings, config, "output"), scans, active=True)
    return dataclasses.replace(node, state_path=state_path, config=config, quantized=True, bits=(config.output_bits,))

"""Planning GLU, a layer of the reference that is a function in Flax (docs/specification/layers.md section 10)."""

from __future__ import annotations

import dataclasses

from linger_jax.numerics.chip_kernels import SIGMOID_GATE_FRACTION_BITS, has_kernels
from linger_jax.plan.graph import Node
from linger_jax.plan.planning import Bits, Planning, as_float
from linger_jax.plan.specs import layer_spec


def plan_glu(planning: Planning, node: Node, bits: Bits) -> Node:
    """Plans a GLU with three quantizers; the scale of the sigmoid's quantizer never changes.

    Args:
      planning: what has been decided; written to.
      node: the recognised function; a float operand gets an input quantizer, since GLU is a layer.
      bits: of its operand, where that is a QTensor.
    """
    settings = planning.settings
    owner, reason = planning.owner(node)
    if owner is None:
        return as_float(node, reason)
    platform = settings.config.platform
    if not has_kernels(platform) and settings.choices.missing_kernels_are_float:
        reason = f"{platform.value} has no sigmoid kernel"
        planning.warn(f"{node.label}{f' at {node.source}' if node.source else ''}: {reason}; glu runs as float")
        return as_float(node, reason)
    config = settings.config.for_path(".".join(owner.path))
    site = planning.name(owner, "_linger_glu", counter="glu")
    scans = planning.parameter_scans
    planning.add((*site, "input_quantizer"), layer_spec(settings, config, "input"), scans, active=bits is None)
    planning.add(
        (*site, "sigmoid_quantizer"),
        layer_spec(settings, config, "bias"),
        scans,
        active=True,
        fixed_scale=2.0**SIGMOID_GATE_FRACTION_BITS if settings.choices.fixed_scales_always_hold else None,
    )
    planning.add((*site, "output_quantizer"), layer_spec(settings, config, "output"), scans, active=True)
    return dataclasses.replace(node, site=site, config=config, quantized=True, bits=(config.output_bits,))

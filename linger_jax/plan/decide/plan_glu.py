"""Planning GLU, a layer of the reference that is a function in Flax (docs/specification/layers.md section 10)."""

from __future__ import annotations

import dataclasses

from linger_jax.kinds import BIAS_BITS, GLU
from linger_jax.numerics.chip_kernels import SIGMOID_GATE_FRACTION_BITS
from linger_jax.plan.decide.decisions import Bits, Decisions, as_float
from linger_jax.plan.decide.plan_layers import Infos, decides
from linger_jax.plan.decide.quantizer_specs import layer_spec
from linger_jax.plan.graph import Node


@decides(GLU)
def plan_glu(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """A GLU with its three quantizers; the sigmoid's has one scale for good.

    A float operand gets an input quantizer, since GLU is a layer.
    """
    del infos
    settings = decisions.settings
    owner, reason = decisions.owner(node)
    if owner is None:
        return as_float(node, reason)
    platform = settings.config.platform
    if not GLU.runs_on(platform) and settings.semantics.missing_kernels_are_float:
        reason = f"{platform.value} has no {GLU.kernels_in_words}"
        decisions.warn(f"{node.label}{f' at {node.source}' if node.source else ''}: {reason}; glu runs as float")
        return as_float(node, reason)
    config = settings.config.for_path(".".join(owner.path))
    state_path = decisions.name(owner, "_linger_glu", counter="glu")
    scans = decisions.parameter_scans
    entering, gate, _ = GLU.quantizers
    is_chip = settings.semantics.fixed_scales_always_hold
    fixed = 2.0**SIGMOID_GATE_FRACTION_BITS if is_chip else None
    for role in GLU.quantizers:
        spec = layer_spec(settings, config, role)
        if role == gate and is_chip:  # no file and no chip has a narrower gate
            spec = dataclasses.replace(spec, bits=BIAS_BITS)
        decisions.add(
            (*state_path, role.quantizer),
            spec,
            scans,
            active=role != entering or operand_bits[0] is None,
            fixed_scale=fixed if role == gate else None,
        )
    return dataclasses.replace(node, state_path=state_path, config=config, quantized=True, bits=(config.output_bits,))

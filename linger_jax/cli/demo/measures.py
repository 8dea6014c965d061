"""Numbers that describe a model: what it occupies, and which Q-format each of its tensors has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
from flax import traverse_util

import linger_jax
from linger_jax.plan import Plan
from linger_jax.quantizers import QuantizerKind

_FLOAT_BITS = 32
_BITS_PER_KIB = 8 * 1024


def float_kib(variables: Mapping[str, Any]) -> float:
    """Size of a float model: every parameter and running statistic in 32 bits."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables)) * _FLOAT_BITS / _BITS_PER_KIB


def quantized_kib(plan: Plan, variables: Mapping[str, Any]) -> float:
    """Size of a quantized model: each parameter in the bits of its layer's weight or bias quantizer.

    The running statistics of a BatchNorm cost nothing: on the chip they are part of its scale and shift.
    """
    bits = 0
    for path, leaf in traverse_util.flatten_dict(variables["params"]).items():
        *layer, name = path
        if name == "learning_data":
            continue
        quantizer = plan.quantizers.get((*layer, "bias_quantizer" if name == "bias" else "weight_quantizer"))
        bits += leaf.size * (quantizer.spec.bits if quantizer is not None else _FLOAT_BITS)
    return bits / _BITS_PER_KIB


def exponents(plan: Plan, variables: Mapping[str, Any]) -> dict[str, int]:
    """Fractional bits of each quantized weight and activation, by dotted quantizer name, in the order of the plan.

    An integer i of a tensor with n fractional bits stands for i / 2^n. Biases are left out: theirs follow from
    input and weight.
    """
    known = linger_jax.scales(variables)
    shown = [q.path for q in plan.quantizers.values() if q.active and q.spec.kind is not QuantizerKind.bias]
    return {name: round(math.log2(float(known[name]))) for name in map(".".join, shown)}

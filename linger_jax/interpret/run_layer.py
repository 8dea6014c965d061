"""Running a layer's own float jaxpr, convolutions through our lowering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Literal

from linger_jax.numerics.convolution import conv
from linger_jax.plan.graph import one_equation


def run_layer(closed: ClosedJaxpr, operands: Sequence[Any], *, fast: bool) -> list[Any]:
    """Evaluates a layer's jaxpr equation by equation.

    Args:
      closed: the layer's float jaxpr.
      operands: its arrays.
      fast: convolutions may use an equal but faster lowering (config key ``lowering``).
    """
    jaxpr = closed.jaxpr
    env: dict[Any, Any] = dict(zip(jaxpr.invars, operands, strict=True))
    env.update(zip(jaxpr.constvars, closed.consts, strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, Literal) else env[var]

    for eqn in jaxpr.eqns:
        values = [read(v) for v in eqn.invars]
        if eqn.primitive.name == "conv_general_dilated":
            p = eqn.params
            outputs = [
                conv(
                    *values,
                    window_strides=tuple(p["window_strides"]),
                    padding=tuple(tuple(pair) for pair in p["padding"]),
                    lhs_dilation=tuple(p["lhs_dilation"]),
                    rhs_dilation=tuple(p["rhs_dilation"]),
                    feature_group_count=p["feature_group_count"],
                    batch_group_count=p["batch_group_count"],
                    dimension_numbers=p["dimension_numbers"],
                    precision=p["precision"],
                    preferred_element_type=p["preferred_element_type"],
                    fast=fast,
                )
            ]
        else:
            outputs = one_equation(eqn)(*values)
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(v) for v in jaxpr.outvars]

"""Running a layer's own float jaxpr, convolutions through our lowering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from linger_jax.compat import ClosedJaxpr, JaxprEqn, evaluate, one_equation
from linger_jax.numerics.convolution import conv


def run_layer(closed: ClosedJaxpr, operands: Sequence[Any], *, fast: bool) -> list[Any]:
    """Evaluates a layer's jaxpr equation by equation.

    Args:
      closed: the layer's float jaxpr.
      operands: its arrays.
      fast: convolutions may use an equal but faster lowering (config key ``lowering``).
    """

    def step(eqn: JaxprEqn, values: list[Any]) -> list[Any]:
        if eqn.primitive.name != "conv_general_dilated":
            return one_equation(eqn)(*values)
        p = eqn.params
        y = conv(
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
        return [y]

    return evaluate(closed, operands, step)

"""Running a float computation on quantized operands: convolutions through our lowering, products at their precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from linger_jax.compat import CALL, ClosedJaxpr, JaxprEqn, evaluate, one_equation, operation, with_parameters
from linger_jax.numerics.convolution import conv
from linger_jax.numerics.products import precise_product


def run_layer(closed: ClosedJaxpr, operands: Sequence[Any], *, fast: bool, bits: Sequence[int] = ()) -> list[Any]:
    """Evaluates a layer's jaxpr equation by equation.

    Args:
      closed: the layer's float jaxpr.
      operands: its arrays.
      fast: convolutions may use an equal but faster lowering (config key ``lowering``).
      bits: widths of the operands of its product; none where they are not quantized.
    """

    def step(eqn: JaxprEqn, values: list[Any]) -> list[Any]:
        what = operation(eqn)
        if what.name == CALL:
            return evaluate(what.params["jaxpr"], values, step)
        if what.name not in ("conv_general_dilated", "dot_general"):
            return one_equation(eqn)(*values)
        product = _convolution(eqn, fast=fast) if what.name == "conv_general_dilated" else _contraction(eqn)
        return [precise_product(product, eqn.params["precision"], *bits)(*values)]

    return evaluate(closed, operands, step)


def run_contraction(run: Callable[..., list[Any]] | None, *operands: Any, bits: Sequence[int]) -> list[Any]:
    """Evaluates an operator that multiplies arrays.

    Args:
      run: its float evaluation.
      operands: its arrays.
      bits: their widths.
    """
    assert run is not None
    return run_layer(jax.make_jaxpr(run)(*operands), operands, fast=False, bits=bits)


def _contraction(eqn: JaxprEqn) -> Callable[..., Any]:
    def product(x: Any, y: Any, *, precision: Any) -> Any:
        (z,) = one_equation(with_parameters(eqn, precision=precision))(x, y)
        return z

    return product


def _convolution(eqn: JaxprEqn, *, fast: bool) -> Callable[..., Any]:
    p = eqn.params

    def product(x: Any, w: Any, *, precision: Any) -> Any:
        return conv(
            x,
            w,
            window_strides=tuple(p["window_strides"]),
            padding=tuple(tuple(pair) for pair in p["padding"]),
            lhs_dilation=tuple(p["lhs_dilation"]),
            rhs_dilation=tuple(p["rhs_dilation"]),
            feature_group_count=p["feature_group_count"],
            batch_group_count=p["batch_group_count"],
            dimension_numbers=p["dimension_numbers"],
            precision=precision,
            preferred_element_type=p["preferred_element_type"],
            fast=fast,
        )

    return product

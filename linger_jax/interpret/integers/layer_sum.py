"""The sum of a layer in integers: its own float computation, evaluated on integers (compare ``lowering``).

A layer's jaxpr moves elements, forms one product and adds a bias. Before the product operands are whole numbers in
float32, which holds them exactly, so whatever moves or masks them works as it is. The product and all behind it are
integers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from linger_jax.compat import CALL, ClosedJaxpr, JaxprEqn, bind_again, evaluate, one_equation, operation
from linger_jax.errors import LingerError
from linger_jax.interpret.context import Array
from linger_jax.interpret.integers.integer_values import whole_numbers
from linger_jax.interpret.integers.unknown import unknown_of_contraction, unknown_of_convolution
from linger_jax.kinds import MOVE_OF_PRIMITIVE, GridOf
from linger_jax.numerics import Accumulator, int64
from linger_jax.numerics.chip_kernels import saturated_int32
from linger_jax.numerics.convolution import convolution
from linger_jax.numerics.products import contraction
from linger_jax.plan import Node
from linger_jax.quantizers import QTensor


@dataclasses.dataclass(frozen=True)
class _Steps:
    """Whole numbers of a width, in float32."""

    value: Array
    bits: int

    @property
    def integers(self) -> Array:
        return saturated_int32(self.value)


@dataclasses.dataclass(frozen=True)
class _Sum:
    """Integers, and where they stand for nothing: bools that broadcast to their shape."""

    total: Accumulator
    unknown: Array


def layer_sum(node: Node, operands: Sequence[QTensor | Accumulator | Array]) -> tuple[Accumulator, Array]:
    """A layer's float computation on integers.

    Args:
      node: the layer.
      operands: of its jaxpr: quantized values, a bias on the grid of their product, indices as they are.

    Returns:
      The sum, in steps of the product's grid; and where it is unknown because an operand was NaN, bools that broadcast
      to it.

    Raises:
      LingerError: it computes something else than a product and a sum.
    """
    known = jnp.zeros((), jnp.bool_)
    values = [
        _Steps(whole_numbers(v), v.bits)
        if isinstance(v, QTensor)
        else _Sum(v, known)
        if isinstance(v, Accumulator)
        else v
        for v in operands
    ]
    (found,) = _evaluated(node, node.float_jaxpr, values)
    if not isinstance(found, _Sum):
        raise _no_form(node, "no product")
    return found.total, found.unknown


def _evaluated(node: Node, closed: ClosedJaxpr, operands: Sequence[Any]) -> list[Any]:
    def step(eqn: JaxprEqn, values: list[Any]) -> list[Any]:
        what = operation(eqn)
        return _evaluated(node, what.params["jaxpr"], values) if what.name == CALL else _one(node, eqn, values)

    return evaluate(closed, operands, step)


def _one(node: Node, eqn: JaxprEqn, values: list[Any]) -> list[Any]:
    name = eqn.primitive.name
    if name in _PRODUCTS and all(isinstance(v, _Steps) for v in values):
        return [_PRODUCTS[name](eqn.params, *values)]
    if name in ("add", "add_any") and all(isinstance(v, _Sum) for v in values):
        return [_Sum(values[0].total + values[1].total, values[0].unknown | values[1].unknown)]
    if any(isinstance(v, _Sum) for v in values):
        first, *others = values
        move = MOVE_OF_PRIMITIVE.get(name)
        moves = move is not None and move.grid is GridOf.first
        if not moves or not isinstance(first, _Sum) or others:
            raise _no_form(node, name)
        if name == "convert_element_type":
            return [first]
        with int64.region():
            results = bind_again(eqn, first.total.value)
        unknown = bind_again(eqn, jnp.broadcast_to(first.unknown, first.total.value.shape))
        return [_Sum(Accumulator(r, first.total.most), u) for r, u in zip(results, unknown, strict=True)]
    widths = [v.bits for v in values if isinstance(v, _Steps)]
    results = one_equation(eqn)(*(v.value if isinstance(v, _Steps) else v for v in values))
    return [_Steps(r, max(widths)) if widths else r for r in results]


def _dot_general(params: Mapping[str, Any], x: _Steps, y: _Steps) -> _Sum:
    numbers = params["dimension_numbers"]
    total = contraction(x.integers, y.integers, numbers, x_bits=x.bits, y_bits=y.bits)
    return _Sum(total, unknown_of_contraction(x.value, y.value, numbers))


def _convolution(params: Mapping[str, Any], x: _Steps, w: _Steps) -> _Sum:
    names = ("window_strides", "padding", "lhs_dilation", "rhs_dilation", "feature_group_count", "dimension_numbers")
    options = {name: params[name] for name in names}
    total = convolution(x.integers, w.integers, x_bits=x.bits, w_bits=w.bits, **options)
    return _Sum(total, unknown_of_convolution(x.value, w.value, params))


_PRODUCTS = {"dot_general": _dot_general, "conv_general_dilated": _convolution}


def _no_form(node: Node, what: str) -> LingerError:
    return LingerError(
        f"{node.label} ({node.op}): it computes {what} besides one product and a bias, which integer evaluation has no "
        "form for; leave the layer float with disable_submodel, or evaluate without mode='integer'"
    )

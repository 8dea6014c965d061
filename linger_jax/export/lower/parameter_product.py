"""A layer's float computation read as one product: what happens to its input, its weight and its bias around it.

The computation is walked with three kinds of values. The input is a tensor of the file, and steps that move it become
nodes. Parameters are followed as *indices* into the array that a quantizer got, so that any view of them (reshaped,
transposed, sliced, repeated) is one look-up in the integers. Behind the product only axes move, and one addition of a
parameter that varies along the weight's axes is the bias.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from linger_jax.compat import CALL, ClosedJaxpr, JaxprEqn, evaluate, one_equation, operation
from linger_jax.export.lower.exported_values import ExportedValue, HostValue, TensorValue
from linger_jax.export.lower.lowering_step import LoweringStep
from linger_jax.plan import Graph, ValueInfo
from linger_jax.plan.graph import PRIMITIVE
from linger_jax.typing import HostArray, Path

PRODUCTS = ("dot_general", "conv_general_dilated")
_INPUT, _KERNEL, _BIAS = ("input", "0"), ("params", "kernel"), ("params", "bias")
Move = Callable[[LoweringStep, TensorValue], Sequence[ExportedValue]]


@dataclasses.dataclass(frozen=True, eq=False)
class ParameterProduct:
    """The product.

    Attributes:
      equation: ``dot_general`` or ``conv_general_dilated``.
      x: its operand that is no parameter.
      x_is_left: which operand that is.
      weight: the other operand, indices into the weight.
      bias: indices into the bias, of the product's shape (1 along axes where nothing varies), or None.
      behind: steps that move the axes of the result.
    """

    equation: JaxprEqn
    x: TensorValue
    x_is_left: bool
    weight: HostArray
    bias: HostArray | None
    behind: tuple[JaxprEqn, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Flax's shape of the product."""
        aval: Any = self.equation.outvars[0].aval
        return tuple(aval.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class _Indices:
    """A view of the weight or the bias."""

    role: Path
    array: HostArray


@dataclasses.dataclass(frozen=True, eq=False)
class _Result:
    """The product with moved axes; ``places`` are positions in it, None where nothing moved."""

    places: HostArray | None = None


def parameter_product(step: LoweringStep, x: TensorValue, move: Move) -> ParameterProduct:
    """Reads the computation of a layer.

    Args:
      step: the layer.
      x: its input.
      move: writes a step that moves the input.

    Raises:
      ExportError: the layer computes something else besides, or its input chooses the part of a parameter.
    """
    reader = _Reader(step, move)
    values: list[Any] = []
    for role, operand, aval in zip(
        step.node.layer_info.operands, step.operands, step.node.float_jaxpr.in_avals, strict=True
    ):
        if role == _INPUT:
            values.append(x)
        elif role in (_KERNEL, _BIAS):
            shape = tuple(aval.shape)
            values.append(_Indices(role, np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)))
        else:
            values.append(operand.array if isinstance(operand, HostValue) else operand)
    reader.walk(step.node.float_jaxpr, values)
    if reader.product is None:
        raise step.error("it has no product")
    return reader.product


class _Reader:
    def __init__(self, step: LoweringStep, move: Move) -> None:
        self.step, self.move = step, move
        self.product: ParameterProduct | None = None

    def walk(self, closed: ClosedJaxpr, values: Sequence[Any]) -> list[Any]:
        def step(eqn: JaxprEqn, operands: list[Any]) -> list[Any]:
            what = operation(eqn)
            return self.walk(what.params["jaxpr"], operands) if what.name == CALL else self._equation(eqn, operands)

        return evaluate(closed, values, step, np.asarray)

    def _equation(self, eqn: JaxprEqn, operands: list[Any]) -> list[Any]:
        name = eqn.primitive.name
        first = operands[0] if operands else None
        if all(isinstance(v, np.ndarray) for v in operands):
            return [np.asarray(v) for v in one_equation(eqn)(*operands)]
        if name in PRODUCTS and self.product is None and {type(v) for v in operands} == {TensorValue, _Indices}:
            return [self._multiplied(eqn, operands)]
        if name == "add" and any(isinstance(v, _Result) for v in operands):
            return [self._added(eqn, operands)]
        if isinstance(first, _Indices) and all(isinstance(v, np.ndarray) for v in operands[1:]):
            return [_Indices(first.role, moved) for moved in _moved(eqn, first.array, operands[1:])]
        if isinstance(first, TensorValue) and name not in PRODUCTS:
            return list(self._move_input(eqn, first, operands[1:]))
        if isinstance(first, _Result) and name in _BY_NUMPY:
            return [self._behind(eqn, first)]
        raise self._error(eqn, operands)

    def _multiplied(self, eqn: JaxprEqn, operands: list[Any]) -> _Result:
        left, right = operands
        x_is_left = isinstance(left, TensorValue)
        x, weight = (left, right) if x_is_left else (right, left)
        if weight.role != _KERNEL:
            raise self._error(eqn, operands)
        self.product = ParameterProduct(eqn, x, x_is_left, weight.array, None, ())
        return _Result()

    def _behind(self, eqn: JaxprEqn, result: _Result) -> _Result:
        assert self.product is not None
        self.product = dataclasses.replace(self.product, behind=(*self.product.behind, eqn))
        (places,) = _moved(eqn, self._places(result), ())
        return _Result(places)

    def _places(self, result: _Result) -> HostArray:
        assert self.product is not None
        shape = self.product.shape
        return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape) if result.places is None else result.places

    def _added(self, eqn: JaxprEqn, operands: list[Any]) -> _Result:
        assert self.product is not None
        result, other = operands if isinstance(operands[0], _Result) else reversed(operands)
        if not isinstance(other, _Indices) or other.role != _BIAS or self.product.bias is not None:
            raise self._error(eqn, operands)
        bias = other.array
        if result.places is not None:
            whole = np.empty(int(np.prod(self.product.shape)), np.int64)
            whole[result.places.reshape(-1)] = np.broadcast_to(bias, result.places.shape).reshape(-1)
            bias = whole.reshape(self.product.shape)
        self.product = dataclasses.replace(self.product, bias=bias)
        return result

    def _move_input(self, eqn: JaxprEqn, x: TensorValue, others: Sequence[Any]) -> Sequence[ExportedValue]:
        moved = moved_by(self.step, eqn, x, others, self.move)
        if not all(isinstance(v, TensorValue) for v in moved):
            raise self._error(eqn, [x, *others])
        return moved

    def _error(self, eqn: JaxprEqn, operands: Sequence[Any]) -> Exception:
        if any(isinstance(v, TensorValue) for v in operands) and any(isinstance(v, _Indices) for v in operands):
            return self.step.error(
                f"the model's input decides, in {eqn.primitive.name}, which part of the parameter it multiplies with; "
                "a file has no form for that. Index parameters with numbers known before the call"
            )
        return self.step.error(
            f"it computes {eqn.primitive.name} besides its product, and a file has no form for that; write that step "
            "outside the layer"
        )


def moved_by(
    step: LoweringStep, eqn: JaxprEqn, value: TensorValue, others: Sequence[HostArray | TensorValue], move: Move
) -> Sequence[ExportedValue]:
    """Writes an equation inside a layer that moves a value, as a step of its own."""
    outputs = tuple(range(len(eqn.outvars)))
    avals: list[Any] = [v.aval for v in eqn.outvars]
    infos = {i: ValueInfo(tuple(a.shape), a.dtype) for i, a in zip(outputs, avals, strict=True)}
    attributes = {**eqn.params, PRIMITIVE: eqn.primitive.name}
    node = dataclasses.replace(step.node, inputs=(), outputs=outputs, attributes=attributes)
    operands: list[ExportedValue] = [value]
    operands += [other if isinstance(other, TensorValue) else HostValue(np.asarray(other)) for other in others]
    return move(LoweringStep(step.emit, Graph((), (), (), infos), node, tuple(operands)), value)


def _moved(eqn: JaxprEqn, indices: HostArray, others: Sequence[HostArray]) -> list[HostArray]:
    """An equation that moves values, on indices; the frequent ones by numpy, which need not compile."""
    rule = _BY_NUMPY.get(eqn.primitive.name)
    if rule is not None:
        return [rule(indices, eqn.params)]
    return [np.asarray(v).astype(np.int64) for v in one_equation(eqn)(indices.astype(np.int32), *others)]


def _broadcast(indices: HostArray, params: Mapping[str, Any]) -> HostArray:
    shape = [1] * len(params["shape"])
    for axis, place in enumerate(params["broadcast_dimensions"]):
        shape[place] = indices.shape[axis]
    return np.broadcast_to(indices.reshape(shape), params["shape"])


_BY_NUMPY: Mapping[str, Callable[[HostArray, Mapping[str, Any]], HostArray]] = {
    "reshape": lambda v, p: v.reshape(p["new_sizes"]),
    "transpose": lambda v, p: v.transpose(p["permutation"]),
    "squeeze": lambda v, p: np.squeeze(v, tuple(p["dimensions"])),
    "broadcast_in_dim": _broadcast,
    "copy": lambda v, p: v,
}

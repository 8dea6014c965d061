"""A function of one number, given as a jaxpr, evaluated on the host in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from linger_jax.compat import (
    CALL,
    CUSTOM_JVP,
    CUSTOM_VJP,
    ClosedJaxpr,
    JaxprEqn,
    equations,
    evaluate,
    is_tracer,
    operation,
)
from linger_jax.numerics.look_up.host_primitives import PRIMITIVES

CALLS = frozenset({CALL, CUSTOM_JVP, CUSTOM_VJP})
"""Equations that are a function of their own."""
_CAST = "convert_element_type"
_PRECISION = "reduce_precision"
_FLOAT32_DIGITS = (8, 23)
_SHAPES = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims"})
"""What gives a number another shape."""


class NoHostFunctionError(Exception):
    """A function is not one of single numbers, or not one that the host can evaluate; the text says what is in the way.

    For the planner, which says it in a plan; users never see it raised.
    """


def evaluated_on_host(closed: ClosedJaxpr, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Applies a function to each element of an array.

    Numbers written into the function keep the value that they have there: 0.1 in a float32 function is the float32
    number next to it. Every step is computed in float64.

    Args:
      closed: one operand, one result.
      x: float64 of any shape.

    Returns:
      float64 of ``x``'s shape; infinite or NaN where the function is.

    Raises:
      NoHostFunctionError: a step is not elementwise, or has no function in ``host_primitives``.
    """
    with np.errstate(all="ignore"):
        (result,) = evaluate(closed, [x], _step, _number)
    return np.broadcast_to(np.asarray(result, np.float64), x.shape).copy()


def unknown_to_host(name: str, closed: Sequence[ClosedJaxpr] = ()) -> str | None:
    """The first primitive of an equation that has no function of the host; None where all have.

    Args:
      name: of the equation (``compat.operation``).
      closed: the functions that it calls.
    """
    if name not in CALLS:
        return None if name in PRIMITIVES or name in _SHAPES or name in (_CAST, _PRECISION) else name
    for inner in closed:
        for eqn in equations(inner):
            what = operation(eqn)
            found = unknown_to_host(what.name, what.jaxprs)
            if found is not None:
                return found
    return None


def _step(eqn: JaxprEqn, operands: list[Any]) -> Sequence[Any]:
    what = operation(eqn)
    if what.name in CALLS:
        return evaluate(what.params["jaxpr"], operands, _step, _number)
    if what.name == _CAST:
        return [_cast(operands[0], np.dtype(what.params["new_dtype"]))]
    if what.name in _SHAPES:
        ends: list[Any] = [eqn.invars[0], eqn.outvars[0]]
        if np.ndim(operands[0]) and len({tuple(end.aval.shape) for end in ends}) > 1:
            raise NoHostFunctionError(f"{what.name} gives it another shape")
        return [operands[0]]
    if what.name == _PRECISION:
        if (what.params["exponent_bits"], what.params["mantissa_bits"]) != _FLOAT32_DIGITS:
            raise NoHostFunctionError("reduce_precision rounds inside it")
        return [operands[0]]
    function = PRIMITIVES.get(what.name)
    if function is None:
        raise NoHostFunctionError(f"{what.name} is not known element by element")
    return [function(*operands, **what.params)]


def _cast(value: Any, dtype: np.dtype[Any]) -> Any:
    if dtype in (np.float32, np.float64):
        return np.asarray(value, np.float64)
    if dtype == np.bool_:
        return np.asarray(value) != 0
    raise NoHostFunctionError(f"a cast to {dtype} inside it")


def _number(value: Any) -> Any:
    """A number or truth value written into the function; an array of one number is that number."""
    if is_tracer(value):
        raise NoHostFunctionError("it reads a value that a surrounding transformation traces")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" or array.size == 0 or not np.all(array == array.reshape(-1)[0]):
        if array.dtype.kind == "f" and array.size and np.isnan(array).all():
            return np.float64(np.nan)
        raise NoHostFunctionError("it reads an array of several constants")
    first = array.reshape(-1)[0]
    return np.bool_(first) if array.dtype == np.bool_ else np.float64(first)

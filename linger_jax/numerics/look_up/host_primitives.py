"""JAX's elementwise primitives as functions of NumPy in float64.

A table of results must not depend on how a compiler evaluates a function, so that compilers have no say in it: each
primitive has a function of the host here. One without a row is float in a plan.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax import lax
from scipy import special

HostFunction = Callable[..., Any]
"""Of the operands, and of the parameters of the equation by name."""


def _plain(function: Callable[..., Any]) -> HostFunction:
    """A function that needs no parameter."""
    return lambda *operands, **_: function(*operands)


def _power(x: Any, *, y: int, **_: Any) -> Any:
    raised = np.power(x, np.float64(abs(y)))
    return raised if y >= 0 else 1.0 / raised


def _rounded(x: Any, *, rounding_method: lax.RoundingMethod, **_: Any) -> Any:
    if rounding_method is lax.RoundingMethod.TO_NEAREST_EVEN:
        return np.rint(x)
    whole = np.trunc(x)
    return whole + np.copysign(np.abs(x - whole) >= 0.5, x)


def _selected(which: Any, *cases: Any, **_: Any) -> Any:
    return np.where(which, cases[1], cases[0])


PRIMITIVES: Mapping[str, HostFunction] = {
    **{
        name: _plain(getattr(np, name))
        for name in (
            *("abs", "ceil", "floor", "sign", "square", "sqrt", "cbrt"),
            *("exp", "exp2", "expm1", "log", "log1p"),
            *("sin", "cos", "tan", "sinh", "cosh", "tanh"),
        )
    },
    "asin": _plain(np.arcsin),
    "acos": _plain(np.arccos),
    "atan": _plain(np.arctan),
    "asinh": _plain(np.arcsinh),
    "acosh": _plain(np.arccosh),
    "atanh": _plain(np.arctanh),
    "atan2": _plain(np.arctan2),
    "neg": _plain(np.negative),
    "rsqrt": _plain(lambda x: 1.0 / np.sqrt(x)),
    "logistic": _plain(special.expit),
    "erf": _plain(special.erf),
    "erfc": _plain(special.erfc),
    "erf_inv": _plain(special.erfinv),
    "lgamma": _plain(special.gammaln),
    "digamma": _plain(special.digamma),
    "round": _rounded,
    "integer_pow": _power,
    "pow": _plain(np.power),
    "add": _plain(np.add),
    "add_any": _plain(np.add),
    "sub": _plain(np.subtract),
    "mul": _plain(np.multiply),
    "div": _plain(np.divide),
    "rem": _plain(np.fmod),
    "max": _plain(np.maximum),
    "min": _plain(np.minimum),
    "clamp": _plain(lambda least, x, most: np.minimum(np.maximum(x, least), most)),
    "select_n": _selected,
    "is_finite": _plain(np.isfinite),
    **{name: _plain(getattr(operator, name)) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "and": _plain(np.logical_and),
    "or": _plain(np.logical_or),
    "xor": _plain(np.logical_xor),
    "not": _plain(np.logical_not),
    **{name: _plain(lambda x: x) for name in ("copy", "copy_p", "name", "stop_gradient")},
}
"""By JAX's name of the primitive; truth values are booleans, everything else is float64."""

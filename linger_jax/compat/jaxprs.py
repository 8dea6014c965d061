"""Reading and running jaxprs; releases differ in whether one with its constants is another type than one without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr as ClosedJaxpr
from jax.extend.core import Jaxpr, Literal, jaxpr_as_fun
from jax.extend.core import JaxprEqn as JaxprEqn
from jax.extend.core import Var as Var

Step = Callable[[JaxprEqn, list[Any]], Sequence[Any]]


def closed_jaxpr(value: ClosedJaxpr | Jaxpr) -> ClosedJaxpr:
    """A jaxpr with its constants; one that has none of its own (the body of a ``remat``) gets an empty list of them."""
    return value if isinstance(value, ClosedJaxpr) else ClosedJaxpr(value, ())


def equations(closed: ClosedJaxpr) -> list[JaxprEqn]:
    """The equations of a jaxpr, in order."""
    return list(_body(closed).eqns)


def inputs(closed: ClosedJaxpr) -> list[Any]:
    """The variables that stand for the operands."""
    return list(_body(closed).invars)


def outputs(closed: ClosedJaxpr) -> list[Any]:
    """The variables and literals that are the results."""
    return list(_body(closed).outvars)


def constants(closed: ClosedJaxpr) -> list[tuple[Var, Any]]:
    """The variables that stand for values known to the trace, with these values."""
    return list(zip(_body(closed).constvars, closed.consts, strict=True))


def is_literal(atom: Any) -> bool:
    """Whether an operand or result is a number written into the jaxpr (``atom.val``), not a variable."""
    return isinstance(atom, Literal)


def as_function(closed: ClosedJaxpr) -> Callable[..., list[Any]]:
    """A function of the operands that gives the list of the results, equation by equation."""
    return jaxpr_as_fun(closed)


def evaluate(
    closed: ClosedJaxpr, operands: Sequence[Any], step: Step, constant: Callable[[Any], Any] = lambda value: value
) -> list[Any]:
    """Walks a jaxpr with values of the caller's own kind.

    Args:
      closed: the jaxpr.
      operands: a value for each input.
      step: gives the results of an equation from the values of its operands.
      constant: makes a value of a literal or a constant of the trace.

    Returns:
      The values of the outputs.
    """
    values: dict[Var, Any] = dict(zip(inputs(closed), operands, strict=True))
    values.update((var, constant(value)) for var, value in constants(closed))

    def read(atom: Any) -> Any:
        return constant(atom.val) if is_literal(atom) else values[atom]

    for eqn in equations(closed):
        values.update(zip(eqn.outvars, step(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(atom) for atom in outputs(closed)]


def without_unused(closed: ClosedJaxpr) -> tuple[ClosedJaxpr, list[bool]]:
    """Leaves out what no output needs; an equation stays as it is or goes as a whole.

    Returns:
      A jaxpr of the same inputs and outputs, and for each input whether an output needs it.
    """
    body = _body(closed)
    wanted = {atom for atom in body.outvars if not is_literal(atom)}
    kept = []
    for eqn in reversed(body.eqns):
        if wanted.intersection(eqn.outvars):
            kept.append(eqn)
            wanted.update(atom for atom in eqn.invars if not is_literal(atom))
    shortened = body.replace(eqns=kept[::-1])
    result = shortened if isinstance(shortened, ClosedJaxpr) else ClosedJaxpr(shortened, closed.consts)
    return result, [var in wanted for var in body.invars]


def jaxprs_in(value: Any) -> Iterator[ClosedJaxpr]:
    """The jaxprs in a parameter of an equation: itself, or the entries of a tuple or list."""
    for entry in value if isinstance(value, tuple | list) else (value,):
        if isinstance(entry, ClosedJaxpr):
            yield entry
        elif isinstance(entry, Jaxpr):
            yield closed_jaxpr(entry)


def function_name(closed: ClosedJaxpr) -> str:
    """Name of the Python function that was traced."""
    return str(_body(closed).debug_info.func_name)


def function_file(closed: ClosedJaxpr) -> str:
    """File of the Python function that was traced, or an empty string."""
    return str(_body(closed).debug_info.func_filename or "")


def _body(closed: Any) -> Jaxpr:
    return closed if isinstance(closed, Jaxpr) else closed.jaxpr

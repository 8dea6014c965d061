"""The state that JAX traces in: tracers, contexts that a trace depends on, 64-bit types."""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from linger_jax.compat.equations import operation
from linger_jax.compat.jaxprs import ClosedJaxpr, constants, equations


def is_tracer(value: Any) -> bool:
    """Whether a value stands for one that a transformation is tracing, so that its numbers cannot be read."""
    return isinstance(value, jax.core.Tracer)


def holds_tracers(closed: ClosedJaxpr) -> bool:
    """Whether a jaxpr was made from values of a surrounding transformation."""
    if any(is_tracer(value) for _, value in constants(closed)):
        return True
    return any(holds_tracers(inner) for eqn in equations(closed) for inner in operation(eqn).jaxprs)


def evaluated_now() -> AbstractContextManager[None]:
    """Inside it, what depends on known arrays only is computed at once, also while a function is being traced."""
    return jax.ensure_compile_time_eval()


def wide_types() -> AbstractContextManager[None]:
    """Inside it arrays may have 64-bit types, whatever the user's ``jax_enable_x64`` says."""
    return jax.enable_x64(True)


def user_context(default: Any) -> Any:
    """A value of this thread that is part of the key of compiled functions.

    Returns:
      An object whose ``value`` is the present value. Called with a value, it gives a context manager within which that
      is the present one; a function compiled outside is traced again inside.
    """
    return jax.make_user_context(default_value=default)


_contexts = itertools.count(1)


@jax.jit
def _probe() -> jax.Array:
    return jnp.zeros((next(_contexts),), jnp.int8)


def context_number() -> int:
    """A number for all that a trace depends on besides its arguments: wide types, promotion rules, precision, mesh, ...

    Equal numbers mean that ``jax.jit`` would not trace again: the probe is traced, and counted, once in each context,
    and never run.
    """
    return int(jax.eval_shape(_probe).shape[0])

"""Clamps of parameters: the one-time clamp of the first MOM training step and the clamp of calibration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.compat import wide_types
from linger_jax.config import Compat, QatMethod
from linger_jax.errors import LingerError
from linger_jax.numerics import clip_symmetric, true_quotient
from linger_jax.numerics.sums import cascade_sum
from linger_jax.quantizers.quantizer_spec import QuantizerKind, QuantizerSpec
from linger_jax.quantizers.quantizer_state import WEIGHT_CLAMPED, State, require

_UNBOUNDED = np.float32(np.inf)


def clamp_bound(spec: QuantizerSpec, w: jax.Array) -> jax.Array | None:
    """Bound c of the clamp clip(w, -c, c): mean|w| * factor, else the static value, else None.

    Args:
      spec: the quantizer. The factor is read for weights only.
      w: float32 array of any shape, not empty where a factor is set.

    Returns:
      float32 scalar without gradient, or None where nothing is clamped.

    Raises:
      LingerError: ``w`` is empty and a factor is set.

    Source: docs/specification/quantizers.md section 3.2, docs/specification/config.md section 4.
    """
    if spec.kind is QuantizerKind.weight and spec.clamp_factor is not None:
        return mean_magnitude(w, spec.compat) * np.float32(spec.clamp_factor)
    if spec.clamp_value is not None:
        return jnp.asarray(spec.clamp_value, jnp.float32)
    return None


def clamp_weight_once(spec: QuantizerSpec, w: jax.Array, state: State) -> tuple[jax.Array, State]:
    """The clamp of a weight quantizer's first MOM training step.

    Args:
      spec: the quantizer; every kind and method may be passed, only MOM weight quantizers act.
      w: float32 array of any shape, not empty where a factor is set.
      state: entries of this quantizer.

    Returns:
      w: clipped if ``is_init_mom_clamp_weight`` was false, else unchanged. Its gradient is the identity: the step
        takes its gradients at the clipped value, as if the parameter had been overwritten before.
      state: the same entries with ``is_init_mom_clamp_weight`` true.

    Raises:
      LingerError: ``w`` is empty and a factor is set.
      StateError: the flag is missing.

    Source: docs/specification/quantizers.md section 3.2.
    """
    if spec.kind is not QuantizerKind.weight or spec.qat_method is not QatMethod.MOM:
        return w, dict(state)
    require(state, WEIGHT_CLAMPED)
    done = state[WEIGHT_CLAMPED]
    new_state = {**state, WEIGHT_CLAMPED: jnp.ones_like(done)}
    # The mean is needed once in a training run: the branch keeps it out of every later step.
    bound = lax.cond(done, _no_bound, lambda v: _bound_or_none(spec, v), lax.stop_gradient(w))
    return _overwrite(w, bound), new_state


def mean_magnitude(w: jax.Array, compat: Compat = Compat.chip) -> jax.Array:
    """mean |w|, summed in float64 and rounded once, so that order and sharding do not show.

    Args:
      w: float32 array of any shape, not empty.
      compat: ``reference`` adds in float32, in PyTorch's order over ``w``'s memory layout.

    Returns:
      float32 scalar without gradient.

    Raises:
      LingerError: ``w`` is empty.
    """
    if w.size == 0:
        raise LingerError(f"cannot clamp an empty tensor of shape {w.shape} to its mean magnitude")
    magnitude = lax.abs(lax.stop_gradient(w))
    if compat is Compat.reference:
        return true_quotient(cascade_sum(magnitude), np.float32(w.size))
    with wide_types():
        total = jnp.sum(lax.convert_element_type(magnitude, jnp.float64))
        return lax.convert_element_type(true_quotient(total, np.float64(w.size)), jnp.float32)


def _no_bound(w: jax.Array) -> jax.Array:
    del w
    return jnp.full((), _UNBOUNDED, jnp.float32)


def _bound_or_none(spec: QuantizerSpec, w: jax.Array) -> jax.Array:
    bound = clamp_bound(spec, w)
    return _no_bound(w) if bound is None else bound


@jax.custom_vjp
def _overwrite(w: jax.Array, bound: jax.Array) -> jax.Array:
    """clip(w, -bound, bound) with the identity as its gradient."""
    return clip_symmetric(w, bound)


def _overwrite_forward(w: jax.Array, bound: jax.Array) -> tuple[jax.Array, None]:
    return _overwrite(w, bound), None


def _overwrite_backward(residuals: None, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    del residuals
    return g, jnp.zeros((), jnp.float32)


_overwrite.defvjp(_overwrite_forward, _overwrite_backward)

"""SparifyFFN: a feed-forward block that keeps only the hidden groups its input asks for.

Source: docs/specification/layers.md section 11.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from linger_jax.errors import LingerError
from linger_jax.quantizers import dynamic_clip, static_clip

Array = jax.Array

GROUPS = 8
FINAL_SHARE = 0.125
"""Share of the groups that is kept in evaluation and at the end of training."""
SCHEDULE_STEPS = 20000 * 12
MASK_FACTOR = 7.0
"""Clip of the mask's weights where ``normalize_factor`` is set, whatever its value."""
STEPWISE_LEVELS = 10


class SparsitySchedule(enum.StrEnum):
    """How the kept share falls from 1 to 0.125 during training."""

    sqrt = "sqrt"
    linear = "linear"
    step = "step"


class SparifyFFN(nn.Module):
    """y = fc2(relu(fc1(x) * flags)), flags from the largest of eight groups of softmax(mask(x)).

    Parameters, with kernels laid out [in, out] as in ``nn.Dense``: ``weight_fc1`` [in, hidden], ``weight_fc2``
    [hidden, in], ``weight_mask`` [in, 8], ``bias_fc1``, ``bias_fc2``, ``bias_mask``; all drawn uniformly from
    +-1/sqrt(hidden). The number of training calls is kept in the collection ``sparify``, entry ``calls`` (int32); it
    moves when that collection is mutable.

    Attributes:
      in_feature: width of input and output.
      ou_feature: hidden width, a multiple of 8.
      use_bias: whether the three products have a bias.
      normalize_data: bound of the output, or None.
      normalize_weight: bound of all weights, or None; wins over the factor.
      normalize_bias: bound of the biases, or None.
      normalize_factor: clips fc1 and fc2 to this multiple of their mean magnitude, the mask to 7 times its own.
      schedule: how the kept share falls in training.
      schedule_steps: training calls until it has reached 0.125.
    """

    in_feature: int
    ou_feature: int
    use_bias: bool = True
    normalize_data: float | None = None
    normalize_weight: float | None = None
    normalize_bias: float | None = None
    normalize_factor: float | None = None
    schedule: SparsitySchedule | str = SparsitySchedule.sqrt
    schedule_steps: int = SCHEDULE_STEPS

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Applies the block.

        Args:
          x: float32, [..., in_feature].
          train: take the kept share from the schedule and count the call.

        Returns:
          float32, [..., in_feature].

        Raises:
          LingerError: a hidden width that is no multiple of 8, or an unknown schedule.
        """
        if self.ou_feature % GROUPS:
            raise LingerError(f"SparifyFFN: ou_feature {self.ou_feature} is not a multiple of {GROUPS}")
        if self.schedule not in list(SparsitySchedule):
            raise LingerError(f"SparifyFFN: schedule {self.schedule!r} is not one of {', '.join(SparsitySchedule)}")
        hidden = self._product("fc1", x, self.ou_feature, self.normalize_factor)
        chances = jax.nn.softmax(self._product("mask", x, GROUPS, MASK_FACTOR))
        flags = select_largest(chances, self._kept(train))
        flags = jnp.repeat(flags, self.ou_feature // GROUPS, axis=-1)
        y = self._product("fc2", nn.relu(hidden * flags), self.in_feature, self.normalize_factor)
        return static_clip(y, self.normalize_data)

    def _product(self, name: str, x: Array, features: int, factor: float | None) -> Array:
        shape = (x.shape[-1], features)
        weight = self.param(f"weight_{name}", self._initial, shape)
        if self.normalize_weight is not None:
            weight = static_clip(weight, self.normalize_weight)
        elif self.normalize_factor is not None:
            weight = dynamic_clip(weight, factor)
        y = x @ weight
        if not self.use_bias:
            return y
        bias = static_clip(self.param(f"bias_{name}", self._initial, (features,)), self.normalize_bias)
        return y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)

    def _initial(self, key: Any, shape: Sequence[int]) -> Array:
        bound = float(self.ou_feature) ** -0.5
        return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

    def _kept(self, train: bool) -> Array:
        """Number of groups kept in this call, an int32 scalar."""
        final = kept_groups(jnp.float32(FINAL_SHARE))
        if not train and not self.is_initializing():
            return final  # the counter plays no part: weights alone will do
        calls = self.variable("sparify", "calls", lambda: jnp.zeros((), jnp.int32))
        if not train:
            return final
        count = calls.value + jnp.int32(1)
        if self.is_mutable_collection("sparify") and not self.is_initializing():
            calls.value = count
        return kept_groups(kept_share(count, SparsitySchedule(self.schedule), self.schedule_steps))


def kept_share(calls: Array, schedule: SparsitySchedule, steps: int) -> Array:
    """Share of the groups that training call number ``calls`` keeps.

    Args:
      calls: int32 scalar, 1 in the first call.
      schedule: how the share falls.
      steps: calls until 0.125 is reached.

    Returns:
      float32 scalar in 0.125 .. 1.
    """
    done = calls.astype(jnp.float32) / jnp.float32(steps)
    fall = jnp.float32(1.0 - FINAL_SHARE)
    share = _FALLS[schedule](fall, done)
    return jnp.where(calls >= steps, jnp.float32(FINAL_SHARE), jnp.float32(1) - share)


def _stepwise(fall: Array, done: Array) -> Array:
    level = fall / jnp.float32(STEPWISE_LEVELS)
    return jnp.ceil(fall * done / level) * level


_FALLS: dict[SparsitySchedule, Callable[[Array, Array], Array]] = {
    SparsitySchedule.sqrt: lambda fall, done: fall * jnp.sqrt(done),
    SparsitySchedule.linear: lambda fall, done: fall * done,
    SparsitySchedule.step: _stepwise,
}


def kept_groups(share: Array) -> Array:
    """Number of groups of a share: half to even, at least one."""
    return jnp.clip(jnp.round(share * jnp.float32(GROUPS)), 1, GROUPS).astype(jnp.int32)


@jax.custom_vjp
def select_largest(chances: Array, count: Array) -> Array:
    """1 for the ``count`` largest entries of the last axis, 0 for the others; of equal ones the first.

    Args:
      chances: float32, [..., groups].
      count: int32 scalar.

    Returns:
      float32, [..., groups]. The gradient goes straight through to the entries that were selected.
    """
    order = jnp.argsort(chances, axis=-1, stable=True, descending=True)
    rank = jnp.argsort(order, axis=-1)
    return (rank.astype(jnp.int32) < count).astype(jnp.float32)


def _select_forward(chances: Array, count: Array) -> tuple[Array, Array]:
    flags = select_largest(chances, count)
    return flags, flags


def _select_backward(flags: Array, g: Array) -> tuple[Array, None]:
    return g * flags, None


select_largest.defvjp(_select_forward, _select_backward)

"""The scale of the hidden states: decided before the first step, the same for all steps.

Source: docs/specification/recurrent.md section 2, step 3; docs/decisions.md D3.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.config import QatMethod
from linger_jax.interpret.apply_quantizer import run_quantizer
from linger_jax.interpret.context import Array, Context
from linger_jax.numerics import SMALLEST_SCALE, scale_of_statistic, scale_of_threshold
from linger_jax.quantizers import RUNNING_DATA, SCALE, THRESHOLD, exponent_ties, has_statistic, scale_within_range
from linger_jax.typing import Path


def hidden_scales(
    ctx: Context, hidden: Sequence[Path], input_scale: Array, initial: Sequence[tuple[Array, ...]] | None
) -> list[Array]:
    """Scale of each direction's hidden states, float32 scalars.

    Args:
      ctx: the interpretation, in training or evaluation.
      hidden: paths of the hidden quantizers.
      input_scale: of the layer's input.
      initial: initial state of each direction, where it is given.
    """
    if ctx.semantics.hidden_quantizer_is_output:
        scales = [_followed(ctx, path) for path in hidden]
        least = scales[0] if len(scales) == 1 else jnp.minimum(*scales)
        return [least] * len(scales)
    if not ctx.training:
        return [scale_within_range(ctx.state[path][SCALE]) for path in hidden]
    if initial is not None:
        states = [jax.lax.stop_gradient(state[0]) for state in initial]
        return [run_quantizer(ctx, path, h).scale for path, h in zip(hidden, states, strict=True)]
    stored = [ctx.state[path][SCALE] for path in hidden]
    return [scale_within_range(jnp.where(s != SMALLEST_SCALE, s, input_scale)) for s in stored]


def _followed(ctx: Context, path: Path) -> Array:
    """What the statistic of the steps before asks for; before any, the whole range of a hidden state, -1 to 1.

    Whatever it asks for where the cell has one scale only.
    """
    spec, entries, fixed = ctx.quantizers[path].spec, ctx.state[path], ctx.quantizers[path].fixed_scale
    if fixed is not None:
        return jnp.float32(fixed)
    if not ctx.training:
        return scale_within_range(entries[SCALE])
    ties = exponent_ties(spec.quant_method)
    if spec.qat_method is QatMethod.TQT:
        return scale_of_threshold(jax.lax.stop_gradient(entries[THRESHOLD]).reshape(()), spec.bits, ties)[0]
    whole_range = np.float32(2.0 ** (spec.bits - 1))
    followed = scale_of_statistic(jax.lax.stop_gradient(entries[RUNNING_DATA]), spec.bits, ties)
    return scale_within_range(jnp.where(has_statistic(spec, entries), followed, whole_range))

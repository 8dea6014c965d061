"""Average pooling by integer division (docs/specification/layers.md section 9, docs/decisions.md D5)."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from linger_jax.interpret.apply_quantizer import accept, run_quantizer, straight_through, where_number
from linger_jax.interpret.context import Context, Mode, Value
from linger_jax.interpret.interpreter import interprets, single
from linger_jax.kinds import AVG_POOL
from linger_jax.numerics import round_scaled
from linger_jax.numerics.pooling import divide
from linger_jax.plan import Node
from linger_jax.quantizers import QTensor


@interprets(AVG_POOL)
def average_pool(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of a window or whole-plane average; the gradient is the float average's."""
    path = node.quantizer_path("output_quantizer")
    spec = ctx.quantizers[path].spec
    x = accept(ctx, node.quantizer_path("input_quantizer"), operands[0])
    average = single(node.run, x.value)
    if ctx.semantics.pool_keeps_scale:
        # The executor cannot shift left here, equal scales are bit-equal on the device (docs/decisions.md D5).
        ctx.state[path] = {**ctx.state[path], "scale": x.scale}
        reference = QTensor(average, x.scale, spec.bits)
    else:
        reference = run_quantizer(ctx, path, average)
    if ctx.in_float and (ctx.mode is not Mode.calibrate or ctx.semantics.pool_calibrates_in_float):
        return [reference]
    if ctx.semantics.evaluates_in_integers:
        steps = x.value * x.scale
    else:
        spec_of_x = ctx.quantizers[node.quantizer_path("input_quantizer")].spec
        steps = round_scaled(x.value, x.scale, spec_of_x.round_mode)
    if ctx.in_integers:
        steps = steps.astype(jnp.int32)  # float32 sums are exact below 2^24 only
    total = single(node.pool.total, jax.lax.stop_gradient(steps))
    for run in node.pool.after:
        total = single(run, total)
    quotient = divide(
        total.astype(jnp.int32),
        node.pool.divisor,
        x.scale,
        reference.scale,
        ctx.settings.config.platform,
        spec.rounding_in_evaluation,
    )
    least, most = -(2 ** (spec.bits - 1)), 2 ** (spec.bits - 1) - 1
    value = where_number(average, jnp.clip(quotient, least, most).astype(jnp.float32) / reference.scale)
    return [QTensor(straight_through(value, reference.value), reference.scale, spec.bits)]

"""Quantized functions that are tables of their results (docs/specification/ops.md section 9)."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.interpret.apply_quantizer import accept_operand, run_quantizer, straight_through, where_number
from linger_jax.interpret.context import Array, Context, Value
from linger_jax.interpret.interpreter import interprets, single
from linger_jax.kinds import TABLE
from linger_jax.numerics.look_up import FunctionTable, on_grid
from linger_jax.plan import Node
from linger_jax.plan.graph import RESULTS
from linger_jax.quantizers import QTensor

_ZERO = np.float32(0)


@interprets(TABLE)
def table(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """The looked up results, rounded once to the output's grid; the gradient is the float function's.

    What is not finite takes no part in a statistic and has no gradient: an infinity is the end of the output's grid,
    whatever its scale, and NaN is 0, but where the operand is NaN itself (docs/decisions.md D35 and D37).
    """
    path = node.quantizer_path("output_quantizer")
    spec, results = ctx.quantizers[path].spec, _results(node)
    x = accept_operand(ctx, node, 0, operands[0])
    if ctx.in_float:
        real = single(node.run, x.value)
        quantized = run_quantizer(ctx, path, where_number(x.value, _finite(real)))
        least, most = spec.limits
        ends = jnp.where(real > _ZERO, np.float32(most), np.float32(least)) / quantized.scale
        return [QTensor(jnp.where(jnp.isinf(real), ends, quantized.value), quantized.scale, quantized.bits)]
    high, low = results.look_up(lax.stop_gradient(x.value), lax.stop_gradient(x.scale))
    smooth = single(node.run, jnp.where(lax.is_finite(high), x.value, results.within))
    quantized = run_quantizer(ctx, path, straight_through(jnp.where(jnp.isinf(high), _ZERO, high), smooth))
    mode = spec.rounding_in_training if ctx.training else spec.rounding_in_evaluation
    value = on_grid(high, low, quantized.scale, spec.bits, mode) / quantized.scale
    value = where_number(lax.stop_gradient(quantized.value), value)
    return [QTensor(straight_through(value, quantized.value), quantized.scale, quantized.bits)]


def _results(node: Node) -> FunctionTable:
    results: FunctionTable = node.attributes[RESULTS]
    return results


def _finite(real: Array) -> Array:
    return jnp.where(lax.is_finite(real), real, _ZERO)

"""GLU: one half times the chip's integer sigmoid of the other (docs/specification/layers.md section 10)."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from linger_jax.errors import PlatformLimitError
from linger_jax.interpret.apply_quantizer import accept, run_quantizer, straight_through, where_number
from linger_jax.interpret.context import Context, Value
from linger_jax.interpret.integers import multiply
from linger_jax.interpret.interpreter import interprets, single
from linger_jax.interpret.kernel_functions import sigmoid_input
from linger_jax.interpret.layers.weighted_layers import quantize_output
from linger_jax.kinds import GLU
from linger_jax.numerics import chip_kernels
from linger_jax.numerics.chip_kernels import from_fixed_point
from linger_jax.plan import Node
from linger_jax.quantizers import SCALE, QTensor


@interprets(GLU)
def glu(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Rule of a GLU; the gradient of the sigmoid is the float one's.

    Raises:
      PlatformLimitError: under ``compat: reference``, a platform without kernels.
    """
    entrance, gate_path = node.quantizer_path("input_quantizer"), node.quantizer_path("sigmoid_quantizer")
    x = accept(ctx, entrance, operands[0])
    fixed = ctx.quantizers[gate_path].fixed_scale
    if fixed is not None:
        ctx.state[gate_path] = {**ctx.state[gate_path], SCALE: jnp.full_like(ctx.state[gate_path][SCALE], fixed)}
    if ctx.in_float:
        return [quantize_output(ctx, node, single(node.run, x.value))]
    platform = ctx.settings.config.platform
    if not GLU.runs_on(platform):
        raise PlatformLimitError(
            f"{node.label}: {platform.value} has no {GLU.kernels_in_words} for a GLU (compat: reference). Choose "
            "another platform, leave it float with disable_submodel, or use compat: chip, which does so by itself"
        )
    a, b = jnp.split(x.value, 2, axis=node.attributes["axis"])
    fraction_bits = chip_kernels.gate_fraction_bits(platform)
    integers = chip_kernels.sigmoid(
        sigmoid_input(ctx, QTensor(b, x.scale, x.bits), ctx.quantizers[entrance].spec.rounding), platform, fraction_bits
    )
    gate = straight_through(where_number(b, from_fixed_point(integers, fraction_bits)), jax.nn.sigmoid(b))
    scale = jnp.float32(2.0**chip_kernels.SIGMOID_GATE_FRACTION_BITS)
    quantized = run_quantizer(ctx, gate_path, gate, given_scale=scale)
    if ctx.in_integers:
        values, output = QTensor(a, x.scale, x.bits), node.quantizer_path("output_quantizer")
        return [multiply(ctx, output, values, quantized, lambda: a * quantized.value)]
    return [quantize_output(ctx, node, a * quantized.value)]

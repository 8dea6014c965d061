"""Functions that the chip computes with integer kernels (docs/specification/chip_kernels.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from linger_jax.config import RoundMode
from linger_jax.export.runner.common_scale import requantize, saturated
from linger_jax.export.runner.integer_tensor import Array, IntegerTensor, Value
from linger_jax.export.runner.operators.node_call import Call, RunRule
from linger_jax.kinds import BIAS_BITS, OPERATORS, OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import Accumulator, chip_kernels
from linger_jax.numerics.look_up import FIRST_OPERAND, OPERAND_BITS, TABLE_SIZE
from linger_jax.numerics.normalization import EXECUTOR_ROWS, KERNEL_ROWS, normalize
from linger_jax.numerics.products import rounded_product
from linger_jax.targets import Platform

_GATE_SCALE = 2.0**chip_kernels.SIGMOID_GATE_FRACTION_BITS
_FULL_WIDTH = 32
_LARGEST = np.float32(2.0**31)


def _squashing(kernel: Callable[[Array, Platform, int], Array]) -> RunRule:
    """``QSigmoid``, ``QTanh``."""

    def rule(call: Call) -> Sequence[Value]:
        node, x = call.node, call.tensor(0)
        fraction = chip_kernels.result_fraction_bits(node.platform, node.integer("o_bits"))
        y = kernel(_input(x, node.platform), node.platform, fraction)
        return [call.on_result_grid(Accumulator.of(y, 2**31), 2.0**fraction)]

    return rule


def _input(x: IntegerTensor, platform: Platform) -> Array:
    """int32 on the grid that sigmoid and tanh read, saturated (docs/decisions.md D9)."""
    kernel = chip_kernels.kernels_of(platform, "sigmoid and tanh").sigmoid_tanh
    grid = 2.0**kernel.input_fraction_bits
    return requantize(x.accumulator(), x.scale, grid, kernel.input_bits, RoundMode.floor_add).value


def _gated(kernel: Callable[[Array, Platform], Array]) -> RunRule:
    """``QGelu``, ``QSwish``; the kernel's result is read as float32 (docs/specification/chip_kernels.md section 9)."""

    def rule(call: Call) -> Sequence[Value]:
        node, x = call.node, call.tensor(0)
        one = 2.0**chip_kernels.GATED_FRACTION_BITS
        y = kernel(requantize(x.accumulator(), x.scale, one, _FULL_WIDTH, RoundMode.floor_add).value, node.platform)
        real = y.astype(jnp.float32) / np.float32(one)
        return [saturated(real, node.scale("scale_o"), node.integer("o_bits"), node.round_mode)]

    return rule


def _rows(kernel: Callable[[Array, Platform], Array]) -> RunRule:
    """``QSoftmax`` along ``axis``."""

    def rule(call: Call) -> Sequence[Value]:
        node, x = call.node, call.tensor(0)
        grid = 2.0**chip_kernels.SOFTMAX_INPUT_FRACTION_BITS
        rows = jnp.moveaxis(
            requantize(x.accumulator(), x.scale, grid, _FULL_WIDTH, RoundMode.floor_add).value, _axis(call), -1
        )
        y = jnp.moveaxis(kernel(rows, node.platform), -1, _axis(call))
        return [call.on_result_grid(Accumulator.of(y, 2**31), 2.0**chip_kernels.SOFTMAX_RESULT_FRACTION_BITS)]

    return rule


def _axis(call: Call) -> int:
    """``axis``, or ``dim`` where only the packer's name is there."""
    name = "axis" if "axis" in call.node.attributes else "dim"
    return call.node.integer(name, -1)


def gated_linear_unit(call: Call) -> Sequence[Value]:
    """``QGLU``: the first half of an axis times the sigmoid of the second (docs/specification/layers.md section 10)."""
    node, x = call.node, call.tensor(0)
    values, gates = jnp.split(x.value, 2, node.integer("dim"))
    fraction = chip_kernels.gate_fraction_bits(node.platform)
    sigmoid = chip_kernels.sigmoid(_input(x.holds(gates), node.platform), node.platform, fraction)
    real = sigmoid.astype(jnp.float32) / np.float32(2.0**fraction)
    gate = saturated(real, _GATE_SCALE, _FULL_WIDTH, RoundMode.round)
    total = x.holds(values).accumulator() * Accumulator.of(gate.value, int(_GATE_SCALE))
    return [call.on_result_grid(total, x.scale * _GATE_SCALE)]


def table(call: Call) -> Sequence[Value]:
    """``QTable``: the result that is stored for each integer."""
    node, x = call.node, call.tensor(0)
    bits = node.integer("o_bits")
    results = call.parameter(1, bits)
    if results.shape != (TABLE_SIZE,) or x.bits > OPERAND_BITS:
        raise call.error(
            f"an operand of {x.bits} bits and results of shape {results.shape}; allowed are {OPERAND_BITS} bits at "
            f"most and {TABLE_SIZE} results"
        )
    if x.scale != node.scale("scale_x"):
        raise call.error(f"its results are of the scale {node.scale('scale_x'):g}, its operand lies at {x.scale:g}")
    stored = jnp.asarray(results.astype(np.int32))
    return [IntegerTensor(stored[x.value - np.int32(FIRST_OPERAND)], node.scale("scale_o"), bits)]


def layer_norm(call: Call) -> Sequence[Value]:
    """``QLayerNorm`` over the axes that its weight has (docs/specification/layers.md section 6)."""
    node, x = call.node, call.tensor(0)
    weight, bias = call.parameter(1, node.integer("w_bits")), call.constant(2, BIAS_BITS)
    rows = normalize(x.value.astype(jnp.float32), jnp.float32(x.scale), weight.ndim, x.bits)
    ranked = (1,) * (x.value.ndim - weight.ndim) + weight.shape
    total = rounded_product(rows.steps.astype(jnp.float32), jnp.asarray(weight.astype(np.float32).reshape(ranked)))
    if bias is not None:
        total = total + bias.astype(np.float32).reshape(ranked)
    unit = np.float32(KERNEL_ROWS.one * node.scale("scale_w"))
    real = jnp.clip(total, -_LARGEST, _LARGEST) * (np.float32(1) / unit)
    return [saturated(real, node.scale("scale_o"), node.integer("o_bits"), node.round_mode)]


def executor_layer_norm(call: Call) -> Sequence[Value]:
    """``LayerNormInt`` over the axes that its weight has (docs/specification/executor.md section 3.3)."""
    node, x = call.node, call.tensor(0)
    weight, bias = call.parameter(1, node.integer("w_bits")), call.parameter(2, BIAS_BITS)
    rows = normalize(x.value.astype(jnp.float32), jnp.float32(x.scale), weight.ndim, x.bits, EXECUTOR_ROWS)
    ranked = (1,) * (x.value.ndim - weight.ndim) + weight.shape
    gamma = Accumulator.of(weight.reshape(ranked), 2 ** (node.integer("w_bits") - 1))
    total = Accumulator.of(rows.steps, 2**31) * gamma + Accumulator.of(bias.reshape(ranked), 2**31)
    return [call.on_result_grid(total, EXECUTOR_ROWS.one * node.scale("scale_w"))]


_RULE_OF_FORM: Mapping[str, Callable[[Callable[..., Array]], RunRule]] = {
    "squashing": _squashing,
    "gated": _gated,
    "rows": _rows,
}

RULES: Mapping[OnnxOperator, RunRule] = {
    **{
        kind.node_in_file: _RULE_OF_FORM[kind.function.form](getattr(chip_kernels, kind.function.kernel))
        for kind in OPERATORS
        if kind.function is not None
    },
    ops.QTABLE: table,
    ops.QLAYER_NORM: layer_norm,
    ops.LAYER_NORM_INT: executor_layer_norm,
    ops.QGLU: gated_linear_unit,
}

"""What the columns of the table of ONNX operators say of results, held against the runner's rules."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.config import Compat, Platform
from linger_jax.errors import LingerError
from linger_jax.export.onnx import FileNode
from linger_jax.export.runner import IntegerTensor
from linger_jax.export.runner.operators import RULES, Call, run_node
from linger_jax.kinds import Role
from linger_jax.kinds import onnx_operators as ops
from linger_jax.plan import semantics

SCALE, BITS = 32.0, 8
OUTPUT = {"scale_o": 64.0, "o_bits": 8, "quant_mode": "floor_add"}
FINE = {"scale_o": 2.0**15, "o_bits": 16}
ACT = {"scale_x": SCALE, "x_bits": BITS, **OUTPUT}
WEIGHT = {**ACT, "scale_w": 64.0, "w_bits": 8}
BOTH = {**ACT, "scale_y": SCALE, "y_bits": BITS}
CAT = {**OUTPUT, "axis": 1, **{f"scale_x_{i}": SCALE for i in (0, 1)}, **{f"x_{i}_bits": BITS for i in (0, 1)}}
CELL = {**WEIGHT, "scale_iw": 256.0, "scale_hw": 64.0, "scale_h": 128.0, "scale_o": 128.0, "hidden_size": 4}
CELL["batch_first"] = 0
NORMALIZED = {**WEIGHT, "scale_y_normal": 32768.0}


def window(axes, **more):
    """A window of three on each axis."""
    ends = {"pads": [0] * 2 * axes, "strides": [1] * axes, "dilations": [1] * axes}
    return {"kernel_shape": [3] * axes, **ends, "group": 1, **more}


# Shapes of the operands, parameters and attributes; a list of numbers is a constant of sizes, axes or bounds.
SAMPLES = {
    ops.QUANT: ([(4, 6)], {"scale_x": 16.0, "data_bits": 8}),
    ops.DEQUANT: ([(4, 6)], {"scale_o": SCALE}),
    ops.TABLE_GATHER: ([(5, 3), [0, 2]], {"scale_w": 64.0, "w_bits": 8}),
    ops.QUANTIZED_SQUEEZE: ([(4, 1, 6)], {"axes": [1]}),
    ops.QLINEAR: ([(4, 6), (5, 6), (5,)], WEIGHT),
    ops.QCONV1D: ([(1, 4, 9), (5, 4, 3), (5,)], {**WEIGHT, **window(1)}),
    ops.QCONV2D: ([(1, 4, 9, 9), (5, 4, 3, 3), (5,)], {**WEIGHT, **window(2)}),
    ops.QCONV_TRANSPOSE1D: ([(1, 4, 9), (4, 5, 3), (5,)], {**WEIGHT, **window(1)}),
    ops.QCONV_TRANSPOSE2D: ([(1, 4, 9, 9), (4, 5, 3, 3), (5,)], {**WEIGHT, **window(2)}),
    ops.QBATCH_NORM1D: ([(1, 4, 9), (4,), (4,)], WEIGHT),
    ops.QBATCH_NORM2D: ([(1, 4, 9, 9), (4,), (4,)], WEIGHT),
    ops.QLAYER_NORM: ([(8, 6), (6,), (6,)], NORMALIZED),
    ops.LAYER_NORM_INT: ([(1, 8, 6), (6,), (6,)], NORMALIZED),
    ops.QAVG_POOL1D: ([(1, 64, 20)], {**ACT, **window(1)}),
    ops.QAVG_POOL2D: ([(1, 16, 20, 20)], {**ACT, **window(2)}),
    ops.QGLOBAL_AVERAGE_POOL2D: ([(1, 512, 2, 3)], ACT),
    ops.QADD: ([(8, 6), (8, 6)], BOTH),
    ops.QMUL: ([(8, 6), (8, 6)], BOTH),
    ops.QCAT: ([(8, 6), (8, 6)], CAT),
    ops.QBMM: ([(2, 4, 6), (2, 6, 4)], BOTH),
    ops.QMATMUL: ([(2, 4, 6), (2, 6, 4)], BOTH),
    ops.REQUANT: ([(8, 6)], ACT),
    ops.QSIGMOID: ([(40, 40)], {**ACT, **FINE}),
    ops.QTANH: ([(40, 40)], {**ACT, **FINE}),
    ops.QGELU: ([(40, 40)], ACT),
    ops.QSWISH: ([(40, 40)], ACT),
    ops.QTABLE: ([(40, 40), (256,)], ACT),
    ops.QSOFTMAX: ([(40, 40)], {**ACT, **FINE, "axis": 1}),
    ops.QGLU: ([(40, 40)], {**ACT, "dim": 1}),
    ops.QLSTM: ([(40, 20, 6), (16, 6), (16, 4), (16,), (16,)], CELL),
    ops.QGRU: ([(40, 20, 6), (12, 6), (12, 4), (12,), (12,)], CELL),
    ops.RELU: ([(4, 6)], {}),
    ops.CLIP: ([(4, 6), np.float32(0), np.float32(1.5)], {}),
    ops.MAX_POOL: ([(1, 4, 9, 9)], window(2)),
    ops.PAD: ([(4, 6), [0, 1, 0, 2], np.float32(0)], {"mode": "constant"}),
    ops.RESHAPE: ([(4, 6), [3, 8]], {}),
    ops.FLATTEN: ([(4, 6, 2)], {"axis": 1}),
    ops.SQUEEZE: ([(4, 1, 6)], {"axes": [1]}),
    ops.UNSQUEEZE: ([(4, 6)], {"axes": [1]}),
    ops.TRANSPOSE: ([(4, 6)], {"perm": [1, 0]}),
    ops.SLICE: ([(4, 6), [1], [3], [0], [1]], {}),
    ops.SPLIT: ([(4, 6)], {"axis": 1, "split": [2, 4]}),
    ops.GATHER: ([(4, 6), [2, 0]], {"axis": 0}),
    ops.EXPAND: ([(4, 1), [4, 3]], {}),
    ops.TILE: ([(4, 6), [1, 2]], {}),
    ops.IDENTITY: ([(4, 6)], {}),
    ops.CONCAT: ([(4, 6), (4, 6)], {"axis": 1}),
    ops.ARG_MAX: ([(4, 6)], {"axis": 1}),
}
EVERY = pytest.mark.parametrize("operator", SAMPLES, ids=str)


def test_every_rule_has_a_sample():
    assert set(SAMPLES) == set(RULES)


def drawn(operator):
    """Operands of a sample: integers on a grid, stored parameters, numbers."""
    rng = np.random.default_rng(3)
    operands = []
    for position, given in enumerate(SAMPLES[operator][0]):
        role = operator.role(position)
        if role is Role.numbers:
            operands.append(np.asarray(given))
            continue
        values = rng.integers(-128, 128, given)
        if role is Role.data:
            operands.append(IntegerTensor(jnp.asarray(values, jnp.int32), SCALE, BITS))
        else:
            operands.append(values.astype(np.int32 if role in (Role.bias, Role.other_bias) else np.int8))
    return operands


def run(operator, operands, platform=Platform.venusA):
    attributes = {**SAMPLES[operator][1], **({"platform": platform.value} if operator.states_platform else {})}
    node = FileNode("n", operator.full_name, ("x",), ("y", "z"), attributes)
    return run_node(operator, Call(node, tuple(operands), semantics(Compat.chip)))


@functools.cache
def first_result(operator, platform=Platform.venusA):
    """Of the sample; each is computed once."""
    return run(operator, drawn(operator), platform)[0]


@pytest.mark.parametrize("operator", [row for row in SAMPLES if row.states_platform], ids=str)
def test_chips_differ_where_the_row_says_so(operator):
    results = set()
    for platform in (Platform.arcs, Platform.venus, Platform.venusA):
        try:
            first = first_result(operator, platform)
        except LingerError:  # the chip has no kernel for it
            results.add(b"")
        else:
            results.add(np.asarray(first.value).tobytes())
    # Averages are divided by other factors on each chip; few sums show it (docs/specification/layers.md section 9.1).
    assert (len(results) > 1) == (operator.differs_between_chips and operator not in ops.AVERAGES)


@EVERY
def test_results_lie_on_the_grid_that_the_row_names(operator):
    first = first_result(operator)
    if operator.passes_grid:
        assert (first.scale, first.bits) == (SCALE, BITS)
    elif operator.result_grid is None:
        assert not isinstance(first, IntegerTensor)
    else:
        stated = tuple(SAMPLES[operator][1][name] for name in operator.result_grid)
        assert (first.scale, first.bits) == stated
        assert first.scale != SCALE


@pytest.mark.parametrize("operator", [row for row in SAMPLES if row.passes_grid], ids=str)
def test_it_commutes_with_a_quant(operator):
    """Rounding in front of it or behind it gives the same integers."""
    _, *others = drawn(operator)
    x = jnp.asarray(np.random.default_rng(4).normal(0, 2, SAMPLES[operator][0][0]), jnp.float32)
    behind = [run(ops.QUANT, [y])[0] for y in run(operator, [x, *others])]
    before = run(operator, [run(ops.QUANT, [x])[0], *others])
    assert np.unique(before[0].value).size > 2
    for one, other in zip(before, behind, strict=True):
        np.testing.assert_array_equal(one.value, other.value)


@pytest.mark.parametrize("operator", [row for row in SAMPLES if row.passes_grid], ids=str)
def test_what_moves_computes_nothing(operator):
    x, *others = drawn(operator)
    results = [np.asarray(y.value) for y in run(operator, [x, *others])]
    computes = any(not np.isin(y, np.asarray(x.value)).all() for y in results)
    if operator.moves:
        assert not computes
        in_order = len(results) == 1 and np.array_equal(results[0].reshape(-1), np.asarray(x.value).reshape(-1))
        assert in_order == operator.reshapes


@pytest.mark.parametrize("operator", [row for row in SAMPLES if set(row.inputs) <= {Role.data, Role.numbers}], ids=str)
def test_any_shape_will_do_where_the_row_says_pointwise(operator):
    operands = drawn(operator)
    flat = [v.holds(v.value.reshape(1, -1)) if isinstance(v, IntegerTensor) else v for v in operands]
    y = first_result(operator)
    if operator.pointwise:
        (z,) = run(operator, flat)
        np.testing.assert_array_equal(np.reshape(y.value, -1), np.reshape(z.value, -1))
    elif isinstance(y, IntegerTensor) and y.value.shape == operands[0].value.shape and operator is not ops.IDENTITY:
        try:
            (z,) = run(operator, flat)
        except LingerError:
            return
        assert not np.array_equal(np.reshape(y.value, -1), np.reshape(z.value, -1)) or operator is ops.QUANT

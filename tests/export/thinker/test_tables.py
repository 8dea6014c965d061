"""Functions that a chip has not are tables; every file is compared with evaluation to the bit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import linger_jax
from linger_jax.export.dialects import Destination
from linger_jax.export.dialects.thinker.tables import tables_for_functions
from linger_jax.export.onnx import OnnxGraph
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import Platform, device_of
from tests.export.calls import trained
from tests.export.thinker.files import attributes, exported, operators
from tests.models import normal

BY_ADDITION = ["Requant", "QAdd", "Gather"]
BY_PRODUCT = ["Reshape", "QLinear", "Gather", "Reshape"]
ROWS = (4, 8)


def between(path):
    """Operators between the layer in front of a function and Dequant."""
    return operators(path)[2:-1]


def behind_dense(function):
    return lambda x: function(nn.Dense(40)(x))


@pytest.mark.parametrize(
    ("platform", "function", "nodes"),
    [
        ("venusA", jax.nn.gelu, BY_ADDITION),
        ("venusA", jax.nn.silu, BY_ADDITION),
        ("venusA", jnp.tanh, BY_ADDITION),
        ("venusA", jax.nn.sigmoid, BY_ADDITION),
        ("arcs", jnp.tanh, BY_PRODUCT),
        ("arcs", jax.nn.sigmoid, ["QSigmoid"]),
        ("venus", jnp.tanh, BY_PRODUCT),
        ("venus", jax.nn.sigmoid, BY_PRODUCT),
        ("arcs", jax.nn.gelu, BY_PRODUCT),
        ("arcs", lambda x: x * nn.relu6(x + 3.0) / 6.0, BY_PRODUCT),
        ("venus", nn.leaky_relu, BY_PRODUCT),
        ("venusA", lambda x: jnp.where(x > 0.5, jnp.sqrt(x), -x), BY_ADDITION),
    ],
)
def test_a_function_is_a_table_where_the_executor_has_no_such_function(tmp_path, platform, function, nodes):
    path = exported(tmp_path, behind_dense(function), 4 * normal(*ROWS), platform=platform)
    assert between(path) == nodes


def test_a_mars_table_was_never_measured_and_is_not_written(tmp_path):
    with pytest.raises(linger_jax.DeviceLintError, match="tanh: 8-bit input"):
        exported(tmp_path, behind_dense(jnp.tanh), normal(*ROWS), platform="mars")
    with pytest.raises(linger_jax.DeviceLintError, match="QTable"):
        exported(tmp_path, behind_dense(nn.elu), normal(*ROWS), platform="mars")


def test_a_table_of_wide_results_is_looked_up_as_wide(tmp_path):
    widths = {
        f"part{i}": {"name": [n], "quant_info": {"output_bits": b}} for i, n, b in ((1, "Dense_0", 8), (2, "*", 16))
    }
    path = exported(tmp_path, behind_dense(nn.elu), normal(*ROWS), platform="arcs", **widths)
    assert between(path) == BY_PRODUCT
    assert attributes(path, "Gather")["w_bits"] == 16


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * jax.nn.sigmoid(x),
        lambda x: jnp.tanh(x) * jax.nn.sigmoid(x),
        lambda x: 0.75 * jnp.tanh(nn.relu(x)),
        lambda x: nn.relu6(jax.nn.silu(x + 0.75)),
    ],
)
def test_neighbours_that_are_functions_of_the_same_tensor_join_the_table(tmp_path, function):
    path = exported(tmp_path, behind_dense(function), 4 * normal(*ROWS), platform="venusA")
    assert between(path) == BY_ADDITION


@pytest.mark.parametrize(
    ("function", "nodes"),
    [
        (lambda x: x * jax.nn.sigmoid(x), ["QSigmoid", "QMul"]),
        (lambda x: jax.nn.sigmoid(nn.relu(x)), ["Relu", "QSigmoid"]),
    ],
)
def test_what_the_executor_computes_is_no_table(tmp_path, function, nodes):
    assert between(exported(tmp_path, behind_dense(function), 4 * normal(*ROWS), platform="arcs")) == nodes


def test_what_others_read_too_stays_in_front_of_the_table(tmp_path):
    def function(x):
        y = nn.relu(x)
        return jnp.concatenate([jnp.tanh(y), y], -1)

    path = exported(tmp_path, behind_dense(function), normal(*ROWS), platform="arcs")
    assert between(path) == ["Relu", *BY_PRODUCT, "QCat"]


def test_a_sum_with_another_tensor_ends_the_table(tmp_path):
    def function(x):
        return nn.Dense(40)(x) + jnp.tanh(nn.Dense(40)(x))

    path = exported(tmp_path, function, normal(*ROWS), platform="venusA")
    assert sorted(operators(path)[1:-1]) == sorted(["QLinear", "QLinear", *BY_ADDITION, "QAdd"])


@pytest.mark.parametrize(
    ("platform", "features", "lengths"),
    [("venusA", 513, [8208, 8208]), ("arcs", 1025, [10934, 10934, 10932]), ("venus", 257, [4112, 4112])],
)
def test_more_elements_than_the_executor_looks_up_are_looked_up_in_parts(tmp_path, platform, features, lengths):
    rows = normal(1, 32, 4)
    path = exported(tmp_path, lambda x: jnp.tanh(nn.Dense(features)(x)), rows, image=False, platform=platform)
    assert between(path).count("QCat") == 1
    inferred = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in onnx.load(path).graph.value_info}
    parts = [inferred[n.output[0]][1] for n in onnx.load(path).graph.node if n.op_type == "Gather"]
    assert parts == lengths
    assert max(parts) <= device_of(Platform(platform)).look_up.elements


def test_each_look_up_adds_a_constant_of_its_own(tmp_path):
    """The executor of venusA loses one that three additions read."""

    def function(x):
        y = jnp.tanh(nn.Dense(16)(x))
        z = nn.elu(nn.Dense(16)(y))
        return jnp.tanh(nn.Dense(16)(z)) * y

    path = exported(tmp_path, function, 4 * normal(*ROWS), platform="venusA")
    added = [node.input[1] for node in onnx.load(path).graph.node if node.op_type == "QAdd"]
    assert len(set(added)) == len(added) == 3


def test_tables_stand_in_the_file_of_one_dialect_only(tmp_path):
    qmodel, variables = trained(behind_dense(jnp.tanh), x := normal(*ROWS), platform="arcs")
    path = linger_jax.export_onnx(qmodel, variables, x, tmp_path / "model.onnx", dialect="linger")
    assert operators(path) == ["Quant", "QLinear", "QTanh", "Dequant"]
    (one,) = linger_jax.OnnxRunner(path).run(x)
    linger_jax.export_onnx(qmodel, variables, x, path)
    (other,) = linger_jax.OnnxRunner(path).run(x)
    np.testing.assert_array_equal(one, other)


def graph_of(operator, bits, wide, elements=7):
    """A function of the quantized input, as a graph under construction."""
    graph = OnnxGraph()
    graph.constants["x"] = np.zeros((1, elements), np.float32)
    quant = {"scale_x": 16.0, "data_bits": bits, "platform": "arcs"}
    (x,) = graph.add(ops.QUANT, ["x"], element_types=["int8" if bits <= 8 else "int16"], attributes=quant)
    attributes = {"x_bits": bits, "scale_x": 16.0, "o_bits": wide, "scale_o": 2.0 ** (wide - 1), "platform": "arcs"}
    (y,) = graph.add(operator, [x], element_types=["int8" if wide <= 8 else "int16"], attributes=attributes)
    graph.shapes |= {x: (1, elements), y: (1, elements)}
    graph.outputs = [y]
    return graph


def rewritten(graph):
    tables_for_functions(graph, Destination(Platform.arcs, 12))
    return [node.operator for node in graph.nodes]


def test_a_result_of_16_bits_is_a_table_of_16_bits():
    """arcs computes a sigmoid of 8 bits only (docs/specification/executor.md section 3, row QSigmoid)."""
    graph = graph_of(ops.QSIGMOID, 8, 16)
    assert rewritten(graph) == [ops.QUANT, ops.RESHAPE, ops.QLINEAR, ops.TABLE_GATHER, ops.RESHAPE]
    (gather,) = (node for node in graph.nodes if node.operator is ops.TABLE_GATHER)
    table = graph.constants[gather.inputs[0]]
    assert (table.dtype, gather.attributes["w_bits"], gather.attributes["scale_o"]) == (np.int16, 16, 2.0**15)
    real = 2.0**15 / (1 + np.exp(-np.arange(-128, 128) / 16))
    assert np.abs(table - real).max() < 6.3e-4 * 2**15
    assert np.all(np.diff(table.astype(int)) >= 0)


def test_a_narrow_operand_has_a_table_that_repeats_its_limits():
    graph = graph_of(ops.QTANH, 4, 8)
    rewritten(graph)
    (table,) = (value for value in graph.constants.values() if value.size == 256)
    assert np.all(table[:121] == table[120])
    assert np.all(table[135:] == table[135])
    assert np.unique(table).size == 16


def test_an_operand_of_16_bits_has_no_table():
    assert rewritten(graph_of(ops.QTANH, 16, 8)) == [ops.QUANT, ops.QTANH]


def test_a_recurrent_layer_that_states_another_grid_than_its_values_have_is_followed_by_no_table():
    graph = graph_of(ops.QTANH, 8, 8)
    cell = graph.nodes[0]
    cell.operator, cell.attributes = ops.QGRU, {"scale_h": 64.0, "scale_o": 128.0, "o_bits": 8}
    assert rewritten(graph) == [ops.QGRU, ops.QTANH]
    cell.attributes["scale_h"] = 128.0
    assert ops.TABLE_GATHER in rewritten(graph)

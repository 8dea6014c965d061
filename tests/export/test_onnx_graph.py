"""Graphs under construction: names of tensors, and what is noted of them."""

import numpy as np

from linger_jax.export.onnx import axes_as_inputs, slice_constants
from linger_jax.export.onnx.onnx_graph import GraphInput, OnnxGraph
from linger_jax.kinds import onnx_operators as ops


def graph_of_two():
    """``x`` -> Relu -> Relu -> ``y``, its intermediate tensors named."""
    graph = OnnxGraph()
    graph.inputs.append(GraphInput("x", (1, 8), "float32"))
    tensor = "x"
    for shape in ((1, 16), (1, 8)):
        (tensor,) = graph.add(ops.RELU, [tensor], element_types=["float32"])
        graph.shapes[tensor] = shape
    graph.name_output(tensor, "y")
    graph.rename_intermediates()
    return graph


def test_a_tensor_that_is_gone_leaves_no_shape_behind():
    """Its number goes to another tensor, whose shape a file states."""
    graph = graph_of_two()
    first, second = graph.nodes
    assert (first.outputs, second.outputs, graph.shapes["0"]) == (["0"], ["y"], (1, 16))
    (fresh,) = graph.add(ops.RELU, ["x"], element_types=["int8"])
    graph.shapes[fresh] = (1, 4)
    second.inputs = [fresh]
    graph.nodes = [graph.nodes[-1], second]
    graph.rename_intermediates()
    assert [node.outputs for node in graph.nodes] == [["0"], ["y"]]
    assert graph.shapes == {"0": (1, 4), "y": (1, 8)}
    assert graph.element_types == {"0": "int8", "y": "float32"}


def test_constants_of_a_slice_are_named_by_their_values():
    graph = graph_of_two()
    names = slice_constants(graph, starts=[0, 2], ends=[1, 5], axes=[0, 1], steps=[1, 3])
    assert names == ["starts_0_2", "ends_1_5", "axes_0_1", "steps_1_3"]
    np.testing.assert_array_equal(graph.constants["ends_1_5"], np.array([1, 5], np.int64))


def test_axes_become_inputs_where_the_standard_has_them_so():
    """linger's own Squeeze of integers keeps its attribute."""
    graph = OnnxGraph()
    for operator in (ops.SQUEEZE, ops.QUANTIZED_SQUEEZE, ops.UNSQUEEZE):
        graph.add(operator, ["x"], element_types=["int8"], attributes={"axes": [1]})
    graph.add(ops.SPLIT, ["x"], element_types=["int8"] * 2, attributes={"axis": 0, "split": [1, 2]})
    axes_as_inputs(graph)
    assert [node.inputs[1:] for node in graph.nodes] == [["axes_1"], [], ["axes_1"], ["split_1_2"]]
    assert [sorted(node.attributes) for node in graph.nodes] == [[], ["axes"], [], ["axis"]]

"""Recurrent layers in files: parameters are told by their place."""

import flax.linen as nn
import numpy as np
import onnx
import pytest

import linger_jax
from tests.export.calls import trained
from tests.models import normal

# Far from zero, as biases are after training: Flax starts them at zero, which hides where they are added.
BIASES = nn.initializers.normal(0.5)


@pytest.mark.parametrize("dialect", ["linger", "thinker"])
@pytest.mark.parametrize(
    "cell",
    [nn.LSTMCell(6, bias_init=BIASES), nn.OptimizedLSTMCell(6, bias_init=BIASES), nn.GRUCell(6, bias_init=BIASES)],
)
@pytest.mark.filterwarnings("ignore:.*does not run it as it is:linger_jax.LingerWarning")
def test_a_bias_is_added_where_the_cell_adds_it(tmp_path, cell, dialect):
    x = normal(8, 7, 5)
    qmodel, variables = trained(lambda x: nn.RNN(cell)(x), x, quant_info={"gru_form": "linger"})
    path = tmp_path / "m.onnx"
    linger_jax.export_onnx(qmodel, variables, x[:1], path, dialect=dialect, strict=False)
    (node,) = [node for node in onnx.load(path).graph.node if node.op_type in ("QLSTM", "QGRU")]
    assert len(node.input) == 5
    (got,) = linger_jax.OnnxRunner(path).run(np.asarray(x))
    np.testing.assert_array_equal(got, qmodel.apply(variables, x))
    assert np.unique(got).size > 20


def test_the_packer_gets_zeros_for_biases_that_are_not_there():
    from linger_jax.config import Platform
    from linger_jax.export.dialects import Destination
    from linger_jax.export.dialects.thinker.sequences import both_biases
    from linger_jax.export.onnx.onnx_graph import GraphInput, OnnxGraph
    from linger_jax.kinds import onnx_operators

    graph = OnnxGraph()
    graph.inputs.append(GraphInput("x", (1, 7, 5), "int8"))
    weights = [graph.constant(name, np.ones((24, size), np.int8)) for name, size in (("w_ih", 5), ("w_hh", 6))]
    graph.add(onnx_operators.QLSTM, ["x", *weights], element_types=["int8", "float32", "float32"])
    both_biases(graph, Destination(Platform.arcs, 12))
    *_, bias_ih, bias_hh = graph.nodes[0].inputs
    for name in (bias_ih, bias_hh):
        np.testing.assert_array_equal(graph.constants[name], np.zeros(24, np.int32))
    assert len(graph.nodes[0].inputs) == 5

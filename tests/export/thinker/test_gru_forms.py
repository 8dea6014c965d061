"""A GRU in the forms that the executor computes: as its own node, and as operators of each step.

Source: docs/specification/executor.md section 5, docs/decisions.md D34.
"""

import flax.linen as nn
import jax
import numpy as np
import pytest

import linger_jax
from linger_jax.errors import DeviceLintError
from linger_jax.nn import TorchGRUCell
from tests.export.calls import assert_computes_as_evaluated
from tests.models import CALIBRATED_QUICKLY, prepared, random_array

BOTH = pytest.mark.parametrize("platform", ["arcs", "venusA"])
FORMS = pytest.mark.parametrize("form", ["executor", "primitives"])
UNITS, STEPS = 6, 3
X = random_array(0, 8, STEPS, 5)


def exported(model, x, platform, form, path, dialect="thinker", samples=slice(1)):
    config = {"platform": platform, "quant_info": {**CALIBRATED_QUICKLY, "gru_form": form}}
    qmodel, variables = prepared(model, x, config=config)
    params = jax.tree.map(lambda w: random_array(w.size, *w.shape, scale=0.6), variables["params"])
    variables = linger_jax.calibrate(qmodel, {**variables, "params": params}, [(x,)], progress=False)
    linger_jax.export_onnx(qmodel, variables, x[samples], path, dialect=dialect)
    return qmodel, variables


def layer(**options):
    return nn.RNN(TorchGRUCell(UNITS), **options)


LAYERS = {
    "forward": layer(),
    "backward": layer(reverse=True),
    "backward in order": layer(reverse=True, keep_order=True),
    "both": nn.Bidirectional(layer(), layer()),
    "with state": layer(return_carry=True),
    "a cell of Flax": nn.RNN(nn.GRUCell(UNITS)),
}


@FORMS
@pytest.mark.parametrize(
    ("name", "platform"), [*((name, "arcs") for name in LAYERS), ("forward", "venusA"), ("both", "venusA")]
)
def test_a_file_for_the_chip_computes_what_evaluation_does(platform, form, name, tmp_path):
    path = tmp_path / "m.onnx"
    qmodel, variables = exported(LAYERS[name], X, platform, form, path)
    assert_computes_as_evaluated(path, qmodel, variables, (X,), image=False)


@FORMS
def test_a_file_as_linger_s_computes_it_too(form, tmp_path):
    path = tmp_path / "m.onnx"
    qmodel, variables = exported(LAYERS["both"], X, "arcs", form, path, dialect="linger")
    assert_computes_as_evaluated(path, qmodel, variables, (X,), image=False)


@FORMS
def test_sequences_with_time_first(form, tmp_path):
    path, x = tmp_path / "m.onnx", np.moveaxis(np.asarray(X[:1]), 0, 1)
    qmodel, variables = exported(layer(time_major=True), x, "arcs", form, path, samples=slice(None))
    (got,) = linger_jax.OnnxRunner(path).run(x)
    np.testing.assert_array_equal(got, qmodel.apply(variables, x))


def test_the_executor_s_node_has_its_matrices_gates_last_and_coarser_labels(tmp_path):
    path = tmp_path / "m.onnx"
    _, variables = exported(layer(), X, "arcs", "executor", path)
    runner = linger_jax.OnnxRunner(path)
    (node,) = (n for n in runner.graph.nodes if n.written == "QGRU")
    shapes = [runner.graph.constants[name].shape for name in node.inputs[1:]]
    assert shapes == [(5, 3 * UNITS), (UNITS, 3 * UNITS), (3 * UNITS,), (3 * UNITS,)]
    real = float(variables["quant"]["weighthh_quantizer"]["scale"])
    assert node.scale("scale_hw") * 2**16 == real
    assert (node.integer("go_forward"), node.integer("batch_first"), node.scale("scale_o")) == (1, 1, 256)


class Streamed(nn.Module):
    """One call of a stream: the state comes in and goes out."""

    @nn.compact
    def __call__(self, x, state):
        return nn.RNN(TorchGRUCell(UNITS), return_carry=True)(x, initial_carry=state)


@BOTH
def test_a_stream_feeds_the_state_of_one_call_to_the_next(platform, tmp_path):
    path, zero = tmp_path / "m.onnx", np.zeros((8, UNITS), np.float32)
    config = {"platform": platform, "quant_info": {"gru_form": "primitives"}}
    qmodel, variables = prepared(Streamed(), X[:, :1], zero, config=config)
    variables = linger_jax.calibrate(qmodel, variables, [(X[:, :1], zero + np.float32(0.3))], progress=False)
    linger_jax.export_onnx(qmodel, variables, (X[:1, :1], zero[:1]), path)
    runner, state = linger_jax.OnnxRunner(path), zero
    for t in range(STEPS):
        wanted_state, wanted = qmodel.apply(variables, X[:, t : t + 1], state)
        state, outputs = runner.run([np.asarray(X[:, t : t + 1]), state])
        np.testing.assert_array_equal(outputs, wanted)
        np.testing.assert_array_equal(state, wanted_state)


def test_steps_share_their_weights(tmp_path):
    path = tmp_path / "m.onnx"
    exported(layer(), X, "arcs", "primitives", path)
    runner = linger_jax.OnnxRunner(path)
    recurrent = {n.inputs[1] for n in runner.graph.nodes if n.written == "QLinear" and "weight_hh" in n.inputs[1]}
    assert len(recurrent) == 2
    assert sum("weight_hh" in i for n in runner.graph.nodes for i in n.inputs) == 2 * STEPS


@BOTH
def test_linger_s_kernel_is_refused_with_the_way_out(platform, tmp_path):
    with pytest.raises(DeviceLintError, match=r"quant_info\.gru_form: primitives or executor"):
        exported(layer(), X, platform, "linger", tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())

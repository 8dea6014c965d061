"""What thinker files say, and that they compute what evaluation computes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import linger_jax
from linger_jax.errors import DeviceLintError, ExportError, LingerWarning
from tests.export.calls import trained
from tests.export.thinker.files import attributes, exported, operators
from tests.models import normal


def test_thinker_is_the_default_and_the_file_says_so(tmp_path):
    model = onnx.load(exported(tmp_path, lambda x: nn.Dense(3)(x), normal(2, 4)))
    assert {p.key: p.value for p in model.metadata_props} == {
        "linger_jax.compat": "chip",
        "linger_jax.dialect": "thinker",
    }


def test_nodes_carry_the_path_of_their_module(tmp_path):
    model = onnx.load(exported(tmp_path, lambda x: nn.relu(nn.Dense(3, name="head")(x)), normal(8, 4)))
    labels = {node.op_type: node.doc_string for node in model.graph.node}
    assert labels["QLinear"] == labels["Quant"] == "head"


def test_operators_have_the_packers_names(tmp_path):
    def normalized(x):
        return nn.glu(nn.LayerNorm(epsilon=1e-5)(nn.Dense(6)(x)), axis=-1)

    with pytest.warns(LingerWarning, match="GluInt"):
        path = exported(tmp_path, normalized, normal(2, 5, 4), strict=False)
    assert operators(path)[:5] == ["Quant", "QLinear", "LayerNormInt", "GluInt", "Dequant"]
    assert attributes(path, "GluInt")["dim"] == 2


def test_what_the_device_computes_otherwise_is_not_written(tmp_path):
    linger = {"quant_info": {"arithmetic": "linger"}}
    qmodel, variables = trained(lambda x: nn.LayerNorm(epsilon=1e-5)(x), normal(2, 5, 4), **linger)
    with pytest.raises(DeviceLintError, match="LayerNorm_0") as error:
        linger_jax.export_onnx(qmodel, variables, normal(1, 5, 4), tmp_path / "m.onnx")
    assert [finding.layer for finding in error.value.report.blocking] == ["LayerNorm_0"]
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(("platform", "there"), [("venus", True), ("arcs", False), ("venusA", False)])
def test_venus_wants_its_rounding_named_and_a_dim(tmp_path, platform, there):
    path = exported(tmp_path, lambda x: nn.softmax(nn.Dense(6)(x)), normal(20, 4), platform=platform)
    assert attributes(path, "QLinear").get("platform_quant") == (b"luna_quant" if there else None)
    assert attributes(path, "QSoftmax").get("dim") == (-1 if there else None)


def test_another_platform_is_named_where_nothing_differs(tmp_path):
    qmodel, variables = trained(lambda x: nn.relu(nn.Dense(3)(x)), normal(2, 4))
    path = linger_jax.export_onnx(qmodel, variables, normal(1, 4), tmp_path / "m.onnx", platform="venus")
    assert attributes(path, "QLinear")["platform"] == b"venus"
    assert attributes(path, "Quant")["platform"] == b"venus"


@pytest.mark.parametrize(
    ("platform", "message"),
    [("venus", r"QSoftmax.*set platform: venus in the configuration"), ("pluto", "platform is 'pluto'; allowed: ")],
)
def test_another_platform_is_refused_where_the_chips_differ(tmp_path, platform, message):
    qmodel, variables = trained(lambda x: nn.softmax(nn.Dense(3)(x)), normal(2, 4))
    with pytest.raises(ExportError, match=message):
        linger_jax.export_onnx(qmodel, variables, normal(1, 4), tmp_path / "m.onnx", platform=platform)


def test_a_batch_is_cut_to_one_sample(tmp_path):
    qmodel, variables = trained(lambda x, y: nn.Dense(3)(x) + nn.Dense(3)(y), normal(4, 5), normal(4, 2))
    path = linger_jax.export_onnx(qmodel, variables, (normal(4, 5), normal(4, 2)), tmp_path / "m.onnx")
    assert [entry.shape for entry in linger_jax.OnnxRunner(path).inputs] == [(1, 5), (1, 2)]


@pytest.mark.parametrize(
    ("function", "shapes", "message"),
    [
        (lambda x: nn.softmax(nn.Dense(3)(x), axis=0), [(40, 5)], "40 rows of the example input are not independent"),
        (lambda x: nn.Dense(3)(x).reshape(4, 3, 1), [(4, 5)], "does not run on the first of the 4"),
        (lambda x, y: nn.Dense(3)(x) + nn.Dense(3)(y), [(4, 5), (1, 5)], r"the arguments hold \[1, 4\] rows"),
    ],
)
def test_a_first_axis_that_is_no_batch_is_refused(tmp_path, function, shapes, message):
    inputs = tuple(normal(*shape) for shape in shapes)
    qmodel, variables = trained(function, *inputs)
    with pytest.raises(ExportError, match=message):
        linger_jax.export_onnx(qmodel, variables, inputs, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_bias_is_the_one_that_evaluation_adds(tmp_path):
    """Scales that were changed after training leave the bias on its old grid; linger writes it anew."""

    def function(x):
        return nn.Dense(5, name="b")(nn.relu(nn.Dense(6, name="a")(x)))

    x = normal(64, 7)
    qmodel, variables = trained(function, x)
    quant = jax.tree.map(lambda v: v, variables["quant"])
    quant["a"]["output_quantizer"]["scale"] /= 4
    quant["b"]["bias_quantizer"]["scale"] *= 4
    variables = {**variables, "quant": quant}
    bias = variables["params"]["b"]["bias"] + jnp.linspace(0.1, 0.2, 5)
    variables = {**variables, "params": {**variables["params"], "b": {**variables["params"]["b"], "bias": bias}}}
    path = linger_jax.export_onnx(qmodel, variables, x[:1], tmp_path / "m.onnx")
    (got,) = linger_jax.OnnxRunner(path).run(np.asarray(x))
    np.testing.assert_array_equal(got, qmodel.apply(variables, x))

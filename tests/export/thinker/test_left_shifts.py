"""Results on a finer grid than what they are made of: Requants behind a product, or in front of a concatenation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import linger_jax
from tests.export.calls import assert_computes_as_evaluated, trained
from tests.export.thinker.files import attributes, operators
from tests.models import normal


def with_scales(function, x, scales, **config):
    """A calibrated model, with the scales of some quantizers replaced."""
    qmodel, variables = trained(function, x, **config)

    def scale(keys, leaf):
        name = ".".join(key.key for key in keys[:-1])
        return np.float32(scales[name]) if keys[-1].key == "scale" and name in scales else leaf

    return qmodel, {**variables, "quant": jax.tree_util.tree_map_with_path(scale, variables["quant"])}


LAYERS = {
    "QLinear": lambda x: nn.relu(nn.Dense(6, name="layer")(x.reshape(-1, 45))),
    "QConv2d": lambda x: nn.Conv(6, (3, 3), name="layer")(x),
    "QBatchNorm2d": lambda x: nn.BatchNorm(use_running_average=True, name="layer")(x),
}


@pytest.mark.parametrize(
    ("operator", "platform"), [("QLinear", "venus"), ("QConv2d", "arcs"), ("QBatchNorm2d", "venusA")]
)
def test_a_product_is_saturated_on_the_grid_of_its_sums(tmp_path, operator, platform):
    x = normal(4, 3, 3, 5)
    scales = {"layer.input_quantizer": 4, "layer.weight_quantizer": 4, "layer.output_quantizer": 128}
    qmodel, variables = with_scales(LAYERS[operator], x, scales, platform=platform)
    path = linger_jax.export_onnx(qmodel, variables, x[:1], tmp_path / "model.onnx")
    assert attributes(path, operator)["scale_o"] == 16
    assert [attributes(path, "Requant")[name] for name in ("scale_x", "scale_o", "data_bits", "o_bits")] == [
        16,
        128,
        8,
        8,
    ]
    assert_computes_as_evaluated(path, qmodel, variables, (x,), image=operator != "QLinear")


def test_a_requant_goes_no_farther_than_the_executors_shift(tmp_path):
    x = normal(4, 3, 3, 5)
    scales = {"layer.input_quantizer": 4, "layer.weight_quantizer": 4, "layer.output_quantizer": 4096}
    qmodel, variables = with_scales(LAYERS["QLinear"], x, scales)
    path = linger_jax.export_onnx(qmodel, variables, x[:1], tmp_path / "model.onnx")
    requants = [node for node in onnx.load(path).graph.node if node.op_type == "Requant"]
    stated = [{a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} for node in requants]
    assert [(a["scale_x"], a["scale_o"]) for a in stated] == [(16, 1024), (1024, 4096)]


def test_a_product_on_the_grid_of_its_sums_stays_as_it_is(tmp_path):
    x = normal(4, 3, 3, 5)
    scales = {"layer.input_quantizer": 4, "layer.weight_quantizer": 4, "layer.output_quantizer": 16}
    qmodel, variables = with_scales(LAYERS["QConv2d"], x, scales)
    path = linger_jax.export_onnx(qmodel, variables, x[:1], tmp_path / "model.onnx")
    assert operators(path) == ["Quant", "QConv2d", "Dequant"]


@pytest.mark.parametrize(("coarse", "requants"), [(2, 0), (1, 1)])
def test_a_part_comes_on_the_result_grid_where_it_is_too_far(tmp_path, coarse, requants):
    def function(x):
        return jnp.concatenate([nn.Dense(6, name="fine")(x), nn.Dense(5, name="coarse")(x)], -1)

    names = {
        "fine.output_quantizer": 128,
        "coarse.output_quantizer": coarse,
        "_linger_qtensor_qcat_0.output_quantizer": 128,
    }
    x = normal(4, 7)
    qmodel, variables = with_scales(function, x, names)
    path = linger_jax.export_onnx(qmodel, variables, x[:1], tmp_path / "model.onnx")
    assert operators(path).count("Requant") == requants
    assert_computes_as_evaluated(path, qmodel, variables, (x,), image=False)

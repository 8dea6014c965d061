"""Fusion of convolutions with their normalization.

The defects of the reference that these sections list are named in the docstrings of the tests.

Source: docs/specification/layers.md section 5, docs/specification/config.md sections 2.1 and 5.
"""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

import linger_jax
import linger_jax.nn
from linger_jax.config import ActivationType
from tests.api.fusion.fused_blocks import IMAGE, KEY, OPEN, ConvNormRelu, norm, settled
from tests.models import Calls, random_array

RELU, SIGMOID = ActivationType.Relu, ActivationType.Sigmoid


def found(model: nn.Module, x: Any, **options: Any) -> tuple[list[tuple[str, ...]], dict[str, ActivationType]]:
    fused, _, adapter = linger_jax.trace_layers(model, jax.eval_shape(model.init, KEY, x), x, **options)
    return list(adapter.pairs), {".".join(path): mark for path, mark in fused.fusion.marks}


# --- what is found ---------------------------------------------------------------------------------------------------


def test_a_convolution_with_its_normalization_and_relu_is_one_pair_with_a_mark():
    assert found(ConvNormRelu(), IMAGE) == ([("conv", "norm")], {"conv": RELU})


@pytest.mark.parametrize("make", [nn.Conv, nn.ConvTranspose])
@pytest.mark.parametrize("window", [(3,), (3, 3)])
def test_both_kinds_of_convolution_over_one_and_two_axes_are_fused(make, window):
    x = random_array(2, 2, *(7,) * len(window), 3)
    assert found(Calls(lambda x: norm("b")(make(4, window, name="a")(x))), x)[0] == [("a", "b")]


def test_marks_stand_at_the_layer_before_the_activation():
    def model(x):
        x = nn.relu(nn.Conv(4, (3, 3), name="conv_relu")(x))
        x = nn.sigmoid(nn.Conv(4, (3, 3), name="conv_sigmoid")(x))
        x = nn.relu(norm("norm_relu")(x))
        x = nn.sigmoid(norm("norm_sigmoid")(x))
        x = nn.sigmoid(norm("pair_norm")(nn.Conv(4, (3, 3), name="pair_sigmoid")(x)))
        x = nn.relu(nn.Dense(4, name="dense_relu")(x.mean((1, 2))))
        return jax.nn.relu6(nn.Dense(4, name="dense_relu6")(x))

    pairs, marks = found(Calls(model), IMAGE)
    assert pairs == [("pair_sigmoid", "pair_norm")]
    assert marks == {
        "conv_relu": RELU,
        "conv_sigmoid": SIGMOID,
        "norm_relu": RELU,
        "pair_sigmoid": SIGMOID,
        "dense_relu": RELU,
    }


def test_without_fuse_bn_only_marks_are_found():
    assert found(ConvNormRelu(), IMAGE, fuse_bn=False) == ([], {"norm": RELU})


def second_reader_of_the_convolution(x):
    y = nn.Conv(3, (3, 3), name="conv")(x)
    return nn.relu(norm("norm")(y)) + y


def second_reader_before_the_relu(x):
    y = norm("norm")(nn.Conv(3, (3, 3), name="conv")(x))
    return nn.relu(y) + y


def convolution_is_an_output(x):
    y = nn.Conv(3, (3, 3), name="conv")(x)
    return norm("norm")(y), y


def convolution_called_twice(x):
    conv = nn.Conv(3, (3, 3), name="conv")
    return norm("norm")(conv(nn.relu(conv(x))))


def normalization_called_twice(x):
    normalize = norm("norm")
    return normalize(nn.Conv(3, (3, 3), name="conv")(normalize(x)))


def a_step_between(x):
    return norm("norm")(nn.max_pool(nn.Conv(3, (3, 3), name="conv")(x), (2, 2)))


def another_axis(x):
    return norm("norm", axis=1)(nn.Conv(3, (3, 3), name="conv")(x))


def mirrored_borders(x):
    return norm("norm")(nn.Conv(3, (3, 3), padding="REFLECT", name="conv")(x))


@pytest.mark.parametrize(
    ("function", "pairs", "marks"),
    [
        (second_reader_of_the_convolution, [], {"norm": RELU}),
        (second_reader_before_the_relu, [("conv", "norm")], {}),
        (convolution_is_an_output, [], {}),
        (convolution_called_twice, [], {}),
        (normalization_called_twice, [], {}),
        (a_step_between, [], {}),
        (another_axis, [], {}),
        (mirrored_borders, [], {}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_only_a_single_reader_of_the_very_value_is_fused_or_marked(function, pairs, marks):
    """Defect of 5.3: the reference fuses and marks where a second consumer, or a second call, sees the value."""
    assert found(Calls(function), IMAGE) == (pairs, marks)


def test_tracing_a_fused_model_again_finds_the_same_anew():
    fused, variables, _ = linger_jax.trace_layers(ConvNormRelu(), settled(ConvNormRelu(), IMAGE), IMAGE)
    again, _, _ = linger_jax.trace_layers(fused, variables, IMAGE)
    assert again == fused
    assert linger_jax.trace_layers(fused, variables, IMAGE, fuse_bn=False)[0].fusion.pairs == ()


class Repeated(nn.Module):
    """Blocks under ``nn.scan`` or ``nn.remat``, each with a convolution and its normalization."""

    @nn.compact
    def __call__(self, x):
        x = nn.remat(ConvNormRelu)(features=3, name="first")(x)

        def step(block, x, _):
            return block(x), None

        scan = nn.scan(step, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True}, length=2)
        return scan(ConvNormRelu(features=3, name="blocks"), x, None)[0]


def test_pairs_inside_remat_and_scan_are_fused_each_iteration_with_its_own_numbers():
    model = Repeated()
    variables = settled(model, IMAGE)
    fused, _, adapter = linger_jax.trace_layers(model, variables, IMAGE)
    assert adapter.pairs == (("first.conv", "first.norm"), ("blocks.conv", "blocks.norm"))
    want = model.apply(variables, IMAGE)
    np.testing.assert_allclose(fused.apply(variables, IMAGE), want, rtol=1e-5, atol=1e-5)
    qmodel = linger_jax.init(fused, {"clamp_info": OPEN})
    folded = qmodel.adopt(variables, IMAGE)
    p, s = jax.tree.map(np.asarray, (variables["params"]["blocks"], variables["batch_stats"]["blocks"]["norm"]))
    alpha = p["norm"]["scale"] * (np.float32(1) / np.sqrt(s["var"] + np.float32(1e-3)))
    conv = folded["params"]["blocks"]["conv"]
    np.testing.assert_array_equal(conv["kernel"], p["conv"]["kernel"] * alpha[:, None, None, None])
    np.testing.assert_array_equal(conv["bias"], p["conv"]["bias"] * alpha + (p["norm"]["bias"] - s["mean"] * alpha))
    _, updates = qmodel.apply(folded, IMAGE, mutable=["quant"])
    assert updates["quant"]["blocks"]["conv"]["weight_quantizer"]["is_init"].tolist() == [True, True]

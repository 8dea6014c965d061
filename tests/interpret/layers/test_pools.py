"""Pools in quantized models (docs/specification/layers.md sections 8 and 9, docs/decisions.md D5)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from tests.interpret.steps import REFERENCE, trained
from tests.models import Calls, initialised, normal, prepared, random_array

KEY = jax.random.key(0)

# --- layers (docs/specification/layers.md sections 4, 8, 9) -----------------------------------------------------------


def test_max_pooling_of_a_float_input_is_float():
    def model(x):
        return nn.Dense(2)(nn.max_pool(x, (2, 2), (2, 2)))

    x = normal(1, 4, 4, 3)
    qmodel = linger_jax.init(Calls(model))
    rows = qmodel.plan(initialised(qmodel, x), x).rows()
    assert [row.op for row in rows] == ["Dense"]


def exact_pool(x, kernel, stride, padding, *, count_include_pad):
    """Exact window averages along axis 1."""
    n, width, channels = x.shape
    starts = range(-padding, width + padding - kernel + 1, stride)
    out = np.zeros((n, len(starts), channels))
    for i, start in enumerate(starts):
        cells = range(max(start, 0), min(start + kernel, width))
        count = kernel if count_include_pad else len(cells)
        out[:, i] = x[:, cells].sum(1) / count
    return out


@pytest.mark.usefixtures("flax_promotion")
@pytest.mark.parametrize(("kernel", "padding", "include"), [(7, 0, True), (11, 0, True), (3, 1, False), (5, 2, False)])
def test_one_dimensional_average_pooling_follows_the_two_dimensional_rules(kernel, padding, include):
    steps = np.random.default_rng(kernel).integers(-128, 128, (4, 48, 8))
    x = linger_jax.QTensor(jnp.asarray(steps / 32, jnp.float32), jnp.float32(32), 8)

    def model(x):
        pads = ((padding, padding),)
        return nn.avg_pool(x, (kernel,), (1,), pads, count_include_pad=include)

    qmodel = linger_jax.init(Calls(model))
    y = qmodel.apply_qtensor(qmodel.init(KEY, x), x)
    got = np.asarray(y.value * y.scale, np.int64)
    exact = exact_pool(steps, kernel, 1, padding, count_include_pad=include)
    assert y.scale == 32
    # The platform's reciprocal decides ties; everything else is the nearest integer.
    assert np.abs(got - exact).max() <= 0.5


def test_average_pooling_answers_at_the_scale_of_its_input():
    x = normal(2, 6, 6, 3)

    def model(x):
        return nn.Conv(4, (3, 3), name="last")(nn.relu(nn.Conv(4, (3, 3))(x))).mean((1, 2))

    qmodel = linger_jax.init(Calls(model))
    variables = initialised(qmodel, x)
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    scale = updates["quant"]["last"]["output_quantizer"]["scale"]
    assert updates["quant"]["_linger_avg_pool_0"]["output_quantizer"]["scale"] == scale


IMAGE = random_array(0, 2, 6, 6, 3)


class Pool(nn.Module):
    """A convolution and the mean of its output over the plane."""

    @nn.compact
    def __call__(self, x):
        return jnp.mean(nn.Conv(4, (1, 1), name="conv")(x), axis=(1, 2))


# --- the scale of an average pool (docs/decisions.md D5) --------------------------------------------------------------


def test_average_pool_answers_at_its_input_scale():
    qmodel, variables = prepared(Pool(), IMAGE)
    output, updates = qmodel.apply_qtensor(variables, IMAGE, mutable=["quant"])
    assert float(output.scale) == float(updates["quant"]["conv"]["output_quantizer"]["scale"])
    state = updates["quant"]["_linger_avg_pool_0"]["output_quantizer"]
    assert (float(state["scale"]), bool(state["is_init"])) == (float(output.scale), False)


def test_average_pool_answers_at_its_own_scale_under_the_reference():
    qmodel, variables = prepared(Pool(), IMAGE, config=REFERENCE)
    output, updates = qmodel.apply_qtensor(variables, IMAGE, mutable=["quant"])
    assert float(output.scale) > float(updates["quant"]["conv"]["output_quantizer"]["scale"])
    assert bool(updates["quant"]["_linger_avg_pool_0"]["output_quantizer"]["is_init"])


def test_average_is_the_rounded_mean_of_the_integers():
    qmodel, variables = prepared(Pool(), IMAGE, config={"platform": "jupiter"})
    _, variables = trained(qmodel, variables, IMAGE)
    output = qmodel.apply_qtensor(variables, IMAGE)
    scale = float(output.scale)
    conv = linger_jax.init(nn.Conv(4, (1, 1)), {"platform": "jupiter"})
    inner = {"params": variables["params"]["conv"], "quant": variables["quant"]["conv"]}
    steps = np.asarray(conv.apply(inner, IMAGE)) * scale
    np.testing.assert_array_equal(np.asarray(output.value) * scale, np.floor(steps.sum((1, 2)) / np.float32(36) + 0.5))


def test_gradient_of_an_average_pool_is_that_of_the_float_mean():
    x = jnp.clip(IMAGE, -1.9, 1.9)  # within the range of the input quantizer
    qmodel, variables = prepared(Pool(), x)
    wide = {**variables, "params": jax.tree.map(lambda p: p * 0.06, variables["params"])}
    slope = jax.grad(lambda x: jnp.sum(qmodel.apply(wide, x, mutable=["quant"])[0]))(x)
    kernel = np.asarray(wide["params"]["conv"]["kernel"])[0, 0]
    step = 2 * np.abs(kernel).max() / 127  # of the quantized kernel
    np.testing.assert_allclose(slope, np.broadcast_to(kernel.sum(1) / 36, IMAGE.shape), atol=4 * step / 36)

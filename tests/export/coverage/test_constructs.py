"""What a model may be made of: each construct has a form in a file that computes what evaluation computes.

Constructs of one kind are the outputs of one model, so that each is compiled once.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

import linger_jax
from tests.export.coverage.agreement import Raw, agreeing
from tests.models import Calls, Scanned, Shared, normal, random_array
from tests.zoo.autoencoder import Vae


def products(x, plain, bias, stacked, merged, merged_bias, heads, head_bias):
    """Parameters outside layers (docs/decisions.md D23), of x [1, 5, 6]; y [1, 5, 2, 3]."""
    y = jnp.einsum("btd,dnh->btnh", x, stacked[1])
    return {
        "matmul": x @ plain,
        "matmul and bias": x @ plain + bias[None, None],
        "parameter on the left": jnp.einsum("ij,btj->bit", plain.T, x) + bias[None, :, None],
        "scaled": x @ (plain / 3.0),
        "slice": x @ plain[:, 1:3],
        "several axes": jnp.einsum("btnh,nhd->btd", y, merged) + merged_bias[None, None],
        "outer": jnp.einsum("abk,kcd->acbd", x, stacked[0]),
        "a matrix each": jnp.einsum("btnh,nhd->btnd", y, heads),
        "a matrix and a bias each": jnp.einsum("btnh,nhd->btnd", y, heads) + head_bias[None, None],
    }


def test_products_of_parameters(tmp_path):
    shapes = ((6, 4), (4,), (3, 6, 2, 3), (2, 3, 5), (5,), (2, 3, 4), (2, 4))
    agreeing(tmp_path, Raw(products, shapes), normal(1, 5, 6))


def sequences(x):
    """Layers and moves of [1, 5, 6]."""
    y = nn.Dense(4)(x)
    table = nn.Embed(5, 4)
    return {
        "einsum layer": nn.Einsum((2, 6, 3), "abk,ckd->acbd", use_bias=False)(x),
        "attention": nn.MultiHeadDotProductAttention(num_heads=2)(y),
        "rematerialised": nn.remat(nn.Dense)(3)(nn.relu(y)),
        "jitted": jax.jit(lambda v: nn.relu(v) * v)(y),
        "constant positions": y + table(jnp.arange(5))[None],
        "constant layer": y + nn.Dense(4)(table(jnp.arange(5)))[None],
        "tied": table.attend(y),
        "numbers": (y * 2.0 + 1.0) / 3.0,
        "class token": nn.Dense(4)(jnp.concatenate([nn.Embed(1, 4)(jnp.zeros((1, 1), int)), y], 1)),
        "three": jnp.concatenate([y, nn.Dense(3)(x), nn.Dense(2)(x)], -1),
        "with a constant": jnp.concatenate([y, jnp.ones((1, 5, 2))], -1),
        "with an input": jnp.concatenate([y, x], -1),
        "stacked": jnp.stack([y, nn.Dense(4)(x)], -1),
        "repeated": jnp.repeat(y, 3, axis=1),
        "tiled": jnp.tile(y, (1, 1, 3)),
        "broadcast": jnp.broadcast_to(y[:, None], (1, 3, 5, 4)),
        "padded": jnp.pad(y, ((0, 0), (1, 2), (0, 0))),
        "padded by reflection": jnp.pad(y, ((0, 0), (1, 2), (0, 0)), mode="reflect"),
        "cut and padded": lax.pad(y, 0.0, ((0, 0, 0), (-1, 2, 0), (0, 0, 0))),
        "rolled": jnp.roll(y, 1, axis=1),
        "flipped": jnp.flip(y, 1),
        "taken": y[:, jnp.array([2, 0, 0])],
        "taken along two axes": y[:, jnp.array([2, 0]), jnp.array([1, 3])],
        "taken at a place": lax.dynamic_slice_in_dim(y, 1, 2, 1),
        "largest": jnp.argmax(y, -1),
        "mean over time": y.mean(1),
        "without dropout": nn.Dense(3)(nn.Dropout(0.5, deterministic=True)(y)),
        "normalized": nn.BatchNorm(use_running_average=True)(y),
        "mapped": jax.vmap(nn.Dense(3))(y),
        "scalar": nn.Dense(1)(x)[0, 0, 0],
        "the input": x,
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is clipped")
def test_steps_of_sequences(tmp_path):
    with jax.numpy_dtype_promotion("standard"):
        found = agreeing(tmp_path, Calls(sequences), normal(1, 5, 6))
    assert "Identity" in found["ops"]  # of the input, which is an output too


def test_a_float_value_may_be_two_outputs_and_be_read_besides(tmp_path):
    def twice(x):
        y = nn.relu(x)
        return {"one": y, "other": y, "product": nn.Dense(3)(y)}

    assert agreeing(tmp_path, Calls(twice), normal(16, 6))["ops"] == ["Relu", "QLinear", "Identity"]


def images(x):
    """Layers and moves of [1, 7, 6, 3]."""
    y = nn.Conv(4, (3, 3))(x)
    flat = nn.relu(y).reshape(1, -1)
    return {
        "circular": nn.Conv(4, (3, 3), padding="CIRCULAR")(x),
        "reflected": nn.Conv(4, (3, 3), padding="REFLECT")(x),
        "dilated, grouped": nn.Conv(6, (3, 3), kernel_dilation=2, feature_group_count=3)(x),
        "one more batch axis": nn.Conv(4, (3, 3))(x[None])[0],
        "transposed": nn.ConvTranspose(4, (3, 3), (2, 2))(x),
        "transposed, valid": nn.ConvTranspose(4, (3, 2), (2, 2), padding="VALID")(x),
        "transposed, stride 1": nn.ConvTranspose(4, (3, 3))(x),
        "maximum of the input": nn.Conv(4, (1, 1))(nn.max_pool(x, (2, 2), (2, 2))),
        "maximum": nn.max_pool(y, (3, 3), (2, 2), "SAME"),
        "average": nn.avg_pool(y, (3, 3), (2, 2), "SAME"),
        "average of valid cells": nn.avg_pool(y, (3, 3), (2, 2), "SAME", count_include_pad=False),
        "average with strides": nn.avg_pool(y, (3, 1), (2, 1)),
        "average of all": nn.Dense(4)(y.mean((1, 2), keepdims=True)),
        "excited": y * nn.sigmoid(nn.Dense(4)(y.mean((1, 2))))[:, None, None],
        "joined": jnp.concatenate([y, nn.Conv(4, (3, 3))(x)], 1),
        "shuffled": y.reshape(1, 7, 6, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(1, 14, 12, 1),
        "patches": nn.Dense(5)(nn.Conv(8, (2, 2), (2, 2), "VALID")(x).reshape(1, -1, 8)),
        "flat": flat,
        "behind flat": nn.Dense(3)(flat),
        "flat sum": nn.Dense(3)(flat + flat),
        "flat and normalized": nn.Dense(3)(nn.LayerNorm(epsilon=1e-5)(flat)),
        "gated": nn.glu(y),
        "softmax": nn.softmax(flat),
    }


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["arcs", "venusA"])
def test_steps_of_images(tmp_path, platform):
    with jax.numpy_dtype_promotion("standard"):
        agreeing(tmp_path, Calls(images), normal(1, 7, 6, 3), platform=platform)


def raw_convolutions(x, kernel, bias, swapped):
    """Of x [1, 7, 6, 3]."""
    numbers = ("NHWC", "HWIO", "NHWC")
    first = jnp.moveaxis(x, -1, 1)
    return {
        "last": lax.conv_general_dilated(x, kernel, (1, 2), "SAME", dimension_numbers=numbers) + bias[None, None, None],
        "first": lax.conv_general_dilated(first, swapped, (1, 1), "VALID") + bias[None, :, None, None],
        "between": lax.conv_general_dilated(
            x, kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=numbers
        ),
    }


def test_convolutions_with_parameters(tmp_path):
    found = agreeing(tmp_path, Raw(raw_convolutions, ((3, 3, 3, 4), (4,), (4, 3, 3, 3))), normal(1, 7, 6, 3))
    assert found["ops"].count("QConv2d") == 2
    assert found["ops"].count("QConvTranspose2d") == 1


def recurrent(x):
    """Layers over time, of [1, 5, 3]."""
    x = nn.Dense(3)(x)
    lstm, gru = nn.LSTMCell, nn.GRUCell
    both = nn.Bidirectional(nn.RNN(gru(4)), nn.RNN(gru(4)))(x)
    carry, outputs = nn.RNN(lstm(4), return_carry=True)(x)
    return {
        "backwards": nn.RNN(lstm(4), reverse=True)(x),
        "backwards in order": nn.RNN(lstm(4), reverse=True, keep_order=True)(x),
        "both": nn.Dense(3)(nn.Bidirectional(nn.RNN(gru(3)), nn.RNN(gru(3)))(both)),
        "two layers": nn.RNN(gru(3))(outputs),
        "final state": nn.Dense(3)(carry[1]),
        "two batch axes": nn.RNN(lstm(4))(jnp.stack([x, nn.Dense(3)(x)])),
        "no batch axis": nn.RNN(lstm(4))(x[0]),
        "time first": nn.RNN(gru(4), time_major=True)(jnp.swapaxes(x, 0, 1)),
        "of torch": nn.RNN(linger_jax.nn.TorchGRUCell(4))(x),
    }


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["arcs", "venusA"])
def test_recurrent_layers(tmp_path, platform):
    agreeing(tmp_path, Calls(recurrent), normal(1, 5, 3), platform=platform)


class Loop(nn.Module):
    """Layers of a scan that goes backwards over an array, and returns something of each iteration."""

    @nn.compact
    def __call__(self, x, along):
        class Step(nn.Module):
            @nn.compact
            def __call__(self, x, entry):
                y = nn.Dense(4, name="dense")(x)
                return x + y, nn.sigmoid(y) * entry

        scan = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, reverse=True)
        return scan(name="steps")(nn.Dense(4, name="entry")(x), along)


@pytest.mark.parametrize(
    ("model", "inputs", "names"),
    [
        (Scanned(), 1, {"steps.0.dense.weight", "steps.2.dense.bias", "entry.weight"}),
        (Scanned(remat=True), 1, {"steps.1.dense.weight"}),
        (Scanned(stacked=False), 1, {"steps.dense.weight", "steps.dense.bias"}),
        (Loop(), 2, {"steps.2.dense.weight"}),
        (Shared(), 1, {"dense.weight"}),
    ],
    ids=["stacked", "rematerialised", "one set of parameters", "backwards", "called twice"],
)
def test_loops_are_written_out_with_the_parameters_of_each_iteration(tmp_path, model, inputs, names):
    arrays = (normal(2, 4), random_array(1, 3, 2, 4))[:inputs]
    assert names <= set(agreeing(tmp_path, model, *arrays)["constants"])


def test_what_no_output_depends_on_is_left_out(tmp_path):
    class Watched(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.Dense(4)(x)
            self.sow("intermediates", "energy", jnp.exp(y).sum())
            return y

    assert agreeing(tmp_path, Watched(), normal(1, 4))["ops"] == ["QLinear"]


def test_a_method_of_a_model(tmp_path):
    agreeing(tmp_path, Vae(hidden=8), normal(1, 4), method="decode")

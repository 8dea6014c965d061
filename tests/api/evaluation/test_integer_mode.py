"""``apply(..., mode="integer")``: what fake quantization computes where float32 is exact, and right where it is not."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import linger_jax
from linger_jax.nn import SparifyFFN
from tests.models import Mlp, ResidualCnn, Scanned, Shared, initialised, random_array

WIDE = {"quant_info": {"activate_bits": 16, "weight_bits": 16}}


def stepped(model, x, config=None):
    """A model and its variables after one training step."""
    qmodel = linger_jax.init(model, config)
    variables = initialised(qmodel, x)
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    return qmodel, {**variables, **updates}


def with_scales(qmodel, x, scales, params):
    """Variables with parameters and scales that a test chose; ``scales`` by quantizer of the one layer."""
    variables = initialised(qmodel, x)
    (layer,) = variables["quant"]
    for quantizer, scale in scales.items():
        entries = variables["quant"][layer][f"{quantizer}_quantizer"]
        entries.update(scale=jnp.float32(scale), is_init=jnp.asarray(True))
    return {**variables, "params": {layer: params}}


def half_up(total, shift, bits):
    """The chip's requantization on Python's or numpy's 64-bit integers."""
    rounded = (total + (1 << (shift - 1))) >> shift if shift > 0 else total << -shift
    return np.clip(rounded, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def integers(shape, bits, seed=0):
    return np.random.default_rng(seed).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)


# --- exact where float32 is not ------------------------------------------------------------------------------------


class OneDense(nn.Module):
    features: int = 3

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.features)(x)


class OneConv(nn.Module):
    features: int = 2

    @nn.compact
    def __call__(self, x):
        return nn.Conv(self.features, (3, 3), padding="VALID")(x)


class Wrapped(nn.Module):
    inner: nn.Module

    def __call__(self, *args):
        return self.inner(*args)


class Product(nn.Module):
    @nn.compact
    def __call__(self, x, y):
        return x * y


SHIFT = 20
STEPS = {"input": 2.0**6, "weight": 2.0**15, "output": 2.0, "bias": 2.0**21}


def just_below_ties(sums):
    """A bias that brings each sum to one below a tie: float32 rounds that to the tie, and the tie up."""
    return ((sums >> SHIFT) << SHIFT) + (1 << (SHIFT - 1)) - 1 - sums


def assert_exact_where_float32_is_not(model, steps, weights, sums):
    """A layer of inputs in 64ths and weights in 32,768ths, against sums of integers beyond 2^24."""
    bias = just_below_ties(sums)
    assert np.all(sums + bias > 2**24)
    expected = half_up(sums + bias, SHIFT, 8)
    qmodel = linger_jax.init(model)
    x = jnp.asarray(steps / 2.0**6, jnp.float32)
    params = {
        "kernel": jnp.asarray(weights / 2.0**15, jnp.float32),
        "bias": jnp.asarray(bias / 2.0**21, jnp.float32),
    }
    variables = with_scales(qmodel, x, STEPS, params)
    for mode in ("fake_quant", "integer"):
        exact = qmodel.apply_qtensor(variables, x, mode=mode)
        assert exact.integers.reshape(-1).tolist() == expected.tolist()
        np.testing.assert_array_equal(exact.value.reshape(-1), expected / 2.0)
    # Float32, in which linger sums, is one step off: it cannot hold the sum.
    in_float = linger_jax.init(model, {"compat": "reference"})
    assert np.any(in_float.apply(variables, x) != exact.value)


def test_a_dense_of_4096_inputs_is_exact_beyond_2_to_the_24():
    steps, weights = np.full((1, 4096), 127), np.abs(integers((4096, 3), 8, 1)).clip(0, 127)
    assert_exact_where_float32_is_not(OneDense(), steps, weights, (steps @ weights)[0])


def test_a_convolution_is_exact_beyond_2_to_the_24():
    steps, weights = np.full((1, 3, 3, 512), -128), -np.abs(integers((3, 3, 512, 2), 8, 2)).clip(0, 127)
    assert_exact_where_float32_is_not(OneConv(), steps, weights, np.einsum("nhwc,hwco->o", steps, weights))


def test_sums_of_16_bits_are_exact_beyond_int32():
    steps, weights = integers((2, 300), 16), integers((300, 3), 16, 1)
    qmodel = linger_jax.init(OneDense(), WIDE)
    x = jnp.asarray(steps / 2.0**12, jnp.float32)
    params = {"kernel": jnp.asarray(weights / 2.0**15, jnp.float32), "bias": jnp.zeros(3, jnp.float32)}
    variables = with_scales(qmodel, x, {"input": 2.0**12, "weight": 2.0**15, "output": 2.0**6}, params)
    sums = steps @ weights
    assert np.abs(sums).max() > 2**31
    got = qmodel.apply_qtensor(variables, x, mode="integer")
    np.testing.assert_array_equal(got.integers, half_up(sums, 21, 16))


@pytest.mark.parametrize("compat", ["chip", "reference"])
def test_a_bias_beyond_the_largest_scale_is_the_one_that_evaluation_adds(compat):
    """The scale of a bias ends at 2^23, so it is coarser than this accumulator."""
    qmodel = linger_jax.init(OneDense(1), {**WIDE, "compat": compat})
    x = jnp.zeros((1, 2), jnp.float32)
    params = {"kernel": jnp.zeros((2, 1), jnp.float32), "bias": jnp.asarray([2.0**-14 - 2.0**-26], jnp.float32)}
    scales = {"input": 2.0**13, "weight": 2.0**14, "output": 2.0**13, "bias": 2.0**23}
    variables = with_scales(qmodel, x, scales, params)
    assert qmodel.apply_qtensor(variables, x, mode="integer").integers.tolist() == [[1]]
    assert qmodel.apply(variables, x).tolist() == [[2.0**-13]]


def test_a_bias_saturates_at_32_bits():
    qmodel = linger_jax.init(OneDense(2))
    x = jnp.zeros((1, 2), jnp.float32)
    params = {"kernel": jnp.zeros((2, 2), jnp.float32), "bias": jnp.asarray([3e9, -3e9], jnp.float32)}
    variables = with_scales(qmodel, x, {"input": 4.0, "weight": 8.0, "output": 1.0, "bias": 32.0}, params)
    assert qmodel.apply_qtensor(variables, x, mode="integer").integers.tolist() == [[127, -128]]


def test_a_product_of_16_bit_values_is_rounded_once():
    x, y = (
        linger_jax.from_tensor_to_qtensor(jnp.asarray(integers((50,), 16, seed) / 2.0**15, jnp.float32), 2.0**15, 16)
        for seed in (0, 1)
    )
    qmodel = linger_jax.init(Wrapped(Product()), WIDE)
    variables = initialised(qmodel, x, y)
    (product,) = variables["quant"]["inner"].values()
    product["output_quantizer"].update(scale=jnp.float32(2.0**15), is_init=jnp.asarray(True))
    total = np.asarray(x.integers, np.int64) * np.asarray(y.integers, np.int64)
    got = qmodel.apply_qtensor(variables, x, y, mode="integer")
    np.testing.assert_array_equal(got.integers, half_up(total, 15, 16))


def test_window_sums_of_16_bits_are_exact_beyond_2_to_the_24():
    class Average(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x.mean((1, 2))

    steps = integers((1, 64, 64, 4), 16) // 2 + 2**14
    x = linger_jax.from_tensor_to_qtensor(jnp.asarray(steps / 2.0**15, jnp.float32), 2.0**15, 16)
    qmodel = linger_jax.init(Wrapped(Average()), WIDE)
    variables = initialised(qmodel, x)
    got = qmodel.apply_qtensor(variables, x, mode="integer")
    sums = steps.sum((1, 2))
    assert sums.max() > 2**24
    np.testing.assert_array_equal(got.integers, half_up(sums, 12, 16))


# --- equal where float32 is exact ----------------------------------------------------------------------------------


class Everything(nn.Module):
    """Layers and operators with integer arithmetic of their own, one after the other."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 3), padding="CIRCULAR", feature_group_count=2, name="circular")(x)
        x = nn.BatchNorm(use_running_average=True)(x)
        x = nn.ConvTranspose(6, (3, 3), strides=(2, 2), use_bias=False)(x)
        x = x + nn.Conv(6, (1, 3), strides=(1, 1), kernel_dilation=(1, 2), padding="SAME")(x)
        x = nn.avg_pool(x, (3, 3), (2, 2)) * nn.max_pool(x, (3, 3), (2, 2))
        x = x.reshape(x.shape[0], -1, 6)
        x = nn.glu(nn.DenseGeneral((2, 4))(x).reshape(x.shape[0], -1, 8))
        x = nn.softmax(jnp.einsum("bik,bjk->bij", x, x)) @ x
        x = jnp.concatenate([nn.LayerNorm(epsilon=1e-5)(x), nn.tanh(x)], -1)
        x = x @ self.param("w", nn.initializers.normal(0.5), (8, 16)) + self.param("b", nn.initializers.normal(), (16,))
        x = SparifyFFN(16, 16)(x)
        return nn.RNN(nn.GRUCell(5))(x)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "compat"), [(Everything(), "chip"), (ResidualCnn(), "reference")])
def test_every_layer_and_operator_equals_fake_quantization(model, compat):
    x = random_array(0, 3, 8, 8, 4)
    config = {"platform": "arcs", "compat": compat, "quant_info": {"weight_bits": 4}}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        qmodel, variables = stepped(model, x, config)
        expected = qmodel.apply(variables, x)
        np.testing.assert_array_equal(qmodel.apply(variables, x, mode="integer"), expected, strict=True)
    assert len(np.unique(expected)) > 3


@pytest.mark.parametrize(
    ("rounding", "method"), [("floor", "NATIVE"), ("round", "NATIVE"), ("round", "CUDA"), ("round", "CUDA_GS")]
)
def test_roundings_and_rule_sets_equal_fake_quantization(rounding, method):
    x = random_array(0, 64, 6)
    config = {"quant_method": method, "quant_info": {"round_mode": rounding, "activate_bits": 4, "weight_bits": 4}}
    qmodel, variables = stepped(Mlp(), x, config)
    np.testing.assert_array_equal(qmodel.apply(variables, x, mode="integer"), qmodel.apply(variables, x))


@pytest.mark.parametrize("model", [Shared(), Scanned(), Scanned(stacked=False), Scanned(remat=True)])
def test_shared_and_repeated_layers_equal_fake_quantization(model):
    x = random_array(0, 8, 4)
    qmodel, variables = stepped(model, x)
    np.testing.assert_array_equal(qmodel.apply(variables, x, mode="integer"), qmodel.apply(variables, x))


def test_what_stays_float_stays_float():
    x = random_array(0, 8, 6)
    qmodel = linger_jax.init(Mlp(), disable_submodel="second")
    variables = initialised(qmodel, x)
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    variables |= updates
    np.testing.assert_array_equal(qmodel.apply(variables, x, mode="integer"), qmodel.apply(variables, x))


def test_an_evaluation_in_integers_is_an_evaluation_of_the_file(tmp_path):
    """16-bit values: a file's integers, not those that float32 rounds to."""
    x = random_array(0, 16, 40)
    qmodel, variables = stepped(Mlp(64), x, {**WIDE, "platform": "arcs"})
    path = linger_jax.export_onnx(qmodel, variables, x[:1], tmp_path / "wide.onnx", dialect="linger")
    np.testing.assert_array_equal(
        linger_jax.OnnxRunner(path).run(np.asarray(x))[0], qmodel.apply(variables, x, mode="integer")
    )


# --- how it runs ---------------------------------------------------------------------------------------------------


def test_a_dense_multiplies_8_bit_integers_into_32_bits():
    x = random_array(0, 2, 6)
    qmodel, variables = stepped(Mlp(), x)
    jaxpr = jax.make_jaxpr(lambda v, x: qmodel.apply(v, x, mode="integer"))(variables, x)
    products = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general"]
    assert [[v.aval.dtype for v in eqn.invars] for eqn in products] == [[np.int8, np.int8]] * 2
    assert [eqn.outvars[0].aval.dtype for eqn in products] == [np.int32] * 2


@pytest.mark.parametrize("x64", [False, True])
def test_jit_vmap_and_the_x64_flag_change_nothing(x64):
    x = random_array(0, 4, 8, 8, 3)
    qmodel, variables = stepped(ResidualCnn(), x)
    expected = qmodel.apply(variables, x)

    def run(variables, x):
        return qmodel.apply(variables, x, mode="integer")

    with jax.enable_x64(x64):
        np.testing.assert_array_equal(jax.jit(run)(variables, x), expected)
        over_samples = jax.vmap(lambda image: run(variables, image[None])[0])
        np.testing.assert_array_equal(jax.jit(over_samples)(x), expected)


def test_modes_do_not_share_a_compiled_program():
    x = random_array(0, 2, 6)
    qmodel, variables = stepped(Mlp(), x)
    before = jax.tree.map(np.asarray, variables)
    kinds = [type(qmodel.apply_qtensor(variables, x, mode=mode)) for mode in ("integer", "fake_quant", "integer")]
    assert kinds == [linger_jax.QTensor] * 3
    jax.tree.map(np.testing.assert_array_equal, variables, before)


def test_a_gradient_is_refused():
    x = random_array(0, 2, 6)
    qmodel, variables = stepped(Mlp(), x)
    with pytest.raises(linger_jax.LingerError, match="no gradient"):
        jax.grad(lambda x: qmodel.apply(variables, x, mode="integer").sum())(x)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "int8"}, "mode is 'int8'; allowed: 'fake_quant', 'integer'"),
        ({"mode": "integer", "mutable": ["quant"]}, "is an evaluation"),
        ({"mode": "integer", "mutable": True}, "is an evaluation"),
    ],
)
def test_other_uses_are_refused(given, message):
    x = random_array(0, 2, 6)
    qmodel, variables = stepped(Mlp(), x)
    with pytest.raises(linger_jax.LingerError, match=message):
        qmodel.apply(variables, x, **given)


def test_calibration_and_models_without_integers_are_refused():
    x = random_array(0, 2, 6)
    qmodel, variables = stepped(Mlp(), x)
    with linger_jax.calibration(), pytest.raises(linger_jax.LingerError, match="is an evaluation"):
        qmodel.apply(variables, x, mode="integer")
    for other in (
        linger_jax.constrain(Mlp()),
        linger_jax.init(Mlp(), {"open_quant": False}),
    ):
        with pytest.raises(linger_jax.LingerError, match="has no integers"):
            other.apply(variables, x, mode="integer")


class OneGru(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.GRUCell(3))(x)


def test_recurrent_layers_whose_scale_is_not_their_values_are_refused():
    """Under ``reference`` the declared scale of the output is not the hidden state's (docs/codes.md R7)."""
    x = random_array(0, 2, 3, 4)
    qmodel = linger_jax.init(OneGru(), {"platform": "arcs", "compat": "reference"})
    variables = initialised(qmodel, x)
    with pytest.raises(linger_jax.LingerError, match="declares another scale"):
        qmodel.apply(variables, x, mode="integer")


# --- any shape -----------------------------------------------------------------------------------------------------


class AnyConv(nn.Module):
    features: int
    window: tuple[int, int]
    strides: int
    groups: int

    @nn.compact
    def __call__(self, x):
        return nn.Conv(
            self.features, self.window, self.strides, padding="VALID", feature_group_count=self.groups, use_bias=False
        )(x)


def sums_of_windows(steps, weights, strides, groups):
    """A convolution of 64-bit integers: [N, H, W, C] and [KH, KW, C / groups, O]."""
    windows = np.lib.stride_tricks.sliding_window_view(steps, weights.shape[:2], (1, 2))[:, ::strides, ::strides]
    parts = np.split(windows, groups, 3), np.split(weights, groups, 3)
    return np.concatenate([np.einsum("nhwcab,abco->nhwo", x, w) for x, w in zip(*parts, strict=True)], -1)


@settings(max_examples=8)
@given(
    st.sampled_from([(8, 8), (16, 8), (16, 16)]),
    st.sampled_from([((1, 1), 1), ((3, 2), 1), ((3, 3), 2), ((12, 12), 1)]),
    st.sampled_from([(3, 5, 1), (4, 4, 4), (6, 4, 2), (150, 3, 1)]),
    st.integers(-3, 19),
    st.integers(0, 2**31),
)
def test_layers_of_any_shape_are_those_of_64_bit_integers(bits, window, channels, shift, seed):
    (taps, strides), (inputs, features, groups) = window, channels
    rng = np.random.default_rng(seed)
    least, most = (-(2 ** (b - 1)) for b in bits), (2 ** (b - 1) - 1 for b in bits)
    shapes = (2, 13, 12, inputs), (*taps, inputs // groups, features)
    steps, weights = (rng.choice([lo, hi, lo // 3], s) for lo, hi, s in zip(least, most, shapes, strict=True))
    config = {"platform": "arcs", "quant_info": {"activate_bits": bits[0], "weight_bits": bits[1]}}
    qmodel = linger_jax.init(AnyConv(features, taps, strides, groups), config)
    scales = {"input": 2.0**8, "weight": 2.0**11, "output": 2.0 ** (19 - shift)}
    x = jnp.asarray(steps / scales["input"], jnp.float32)
    kernel = {"kernel": jnp.asarray(weights / scales["weight"], jnp.float32)}
    got = qmodel.apply_qtensor(with_scales(qmodel, x, scales, kernel), x, mode="integer")
    expected = half_up(sums_of_windows(steps, weights, strides, groups), shift, bits[0])
    np.testing.assert_array_equal(got.integers, expected)

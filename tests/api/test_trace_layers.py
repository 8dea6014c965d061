"""Fusion of convolutions with their normalization.

The defects of the reference that these sections list are named in the docstrings of the tests.

Source: docs/specification/layers.md section 5, docs/specification/config.md sections 2.1 and 5.
"""

import pickle
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

import linger_jax
import linger_jax.nn
from linger_jax import LingerError
from linger_jax.config import ActivationType
from linger_jax.plan import PlanError
from tests.models import initialised, random_array

KEY = jax.random.key(0)
RELU, SIGMOID = ActivationType.Relu, ActivationType.Sigmoid


class ConvNormRelu(nn.Module):
    """The block that is fused: convolution, normalization, ReLU."""

    features: int = 4
    transposed: bool = False
    epsilon: float = 1e-3
    bias: bool = True
    options: Any = None

    def convolution(self, **kwargs: Any) -> nn.Module:
        options = self.options or {}
        make = nn.Conv
        if self.transposed:
            make = linger_jax.nn.ConvTranspose if "output_padding" in options else nn.ConvTranspose
        return make(self.features, (3, 3), **options, **kwargs)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = self.convolution(use_bias=self.bias, name="conv")(x)
        return nn.relu(nn.BatchNorm(use_running_average=not train, epsilon=self.epsilon, name="norm")(x))


class Calls(nn.Module):
    """A model made of one function of the input."""

    function: Callable[[jax.Array], Any]

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        return self.function(x)


def norm(name: str, **options: Any) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True, name=name, **options)


def settled(model: nn.Module, x: Any, **kwargs: Any) -> Any:
    """Random variables; variances and scales around one."""
    generator = np.random.default_rng(3)

    def value(path: Any, leaf: Any) -> jax.Array:
        noise = 0.3 * generator.normal(size=leaf.shape)
        return jnp.asarray(1 + np.abs(noise) if path[-1].key in ("var", "scale") else noise, jnp.float32)

    return jax.tree_util.tree_map_with_path(value, jax.eval_shape(model.init, KEY, x, **kwargs))


def found(model: nn.Module, x: Any, **options: Any) -> tuple[list[tuple[str, ...]], dict[str, ActivationType]]:
    fused, _, adapter = linger_jax.trace_layers(model, jax.eval_shape(model.init, KEY, x), x, **options)
    return list(adapter.pairs), {".".join(path): mark for path, mark in fused.fusion.marks}


IMAGE = random_array(1, 2, 9, 9, 3)


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


OPEN = {"clamp_factor_value": None, "clamp_activation_value": None}


# --- the fused float model -------------------------------------------------------------------------------------------

FORMS = [
    {},
    {"bias": False},
    {"options": {"strides": (2, 2), "kernel_dilation": (2, 1), "padding": ((1, 2), (0, 1))}},
    {"features": 6, "options": {"feature_group_count": 3}},
    {"transposed": True, "features": 5},
    {"transposed": True, "features": 5, "options": {"strides": (2, 2), "kernel_dilation": (2, 2)}},
    {"transposed": True, "features": 5, "options": {"transpose_kernel": True}},
    {"transposed": True, "features": 6, "options": {"feature_group_count": 3, "output_padding": 1, "strides": 2}},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_fused_model_evaluates_as_the_model_and_so_does_what_it_folds_to(form):
    """Defects of 5.2 and 5.3: eps fixed at 1e-5; transposed folding along input channels; their dilation lost; fresh
    random weights in the fused module."""
    model = ConvNormRelu(**form)
    variables = settled(model, IMAGE)
    fused, traced, _ = linger_jax.trace_layers(model, variables, IMAGE)
    want = model.apply(variables, IMAGE)
    np.testing.assert_allclose(fused.apply(traced, IMAGE), want, rtol=2e-5, atol=2e-5)
    folded = linger_jax.init(fused, {"clamp_info": OPEN}).adopt(traced, IMAGE)
    assert set(folded["params"]) == {"conv"}
    got = nn.relu(model.convolution(parent=None).apply({"params": folded["params"]["conv"]}, IMAGE))
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def test_training_blends_the_normalized_and_the_folded_convolution():
    model = ConvNormRelu(bias=False)
    variables = settled(model, IMAGE)
    fused, _, _ = linger_jax.trace_layers(model, variables, IMAGE)
    y, updates = fused.apply(variables, IMAGE, train=True, mutable=["batch_stats"])
    p, s = variables["params"], variables["batch_stats"]["norm"]
    conv = nn.Conv(4, (3, 3), use_bias=False)
    raw = np.asarray(conv.apply({"params": p["conv"]}, IMAGE), np.float64)
    mean, count = raw.mean((0, 1, 2)), raw[..., 0].size
    biased, unbiased = raw.var((0, 1, 2)), raw.var((0, 1, 2)) * count / (count - 1)
    gamma, beta = (np.asarray(p["norm"][name], np.float64) for name in ("scale", "bias"))
    normalized = (raw - mean) / np.sqrt(biased + 1e-3) * gamma + beta
    factor = gamma / np.sqrt(unbiased + 1e-3)
    blend = 0.1 * normalized + 0.9 * (raw * factor + beta - mean * factor)
    np.testing.assert_allclose(y, np.maximum(blend, 0), rtol=1e-4, atol=1e-5)
    after = updates["batch_stats"]["norm"]
    np.testing.assert_allclose(after["mean"], 0.99 * s["mean"] + 0.01 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["var"], 0.99 * s["var"] + 0.01 * unbiased, rtol=1e-5)


def test_tracing_moves_no_running_statistic():
    """Defect of 5.3: tracing in training mode moves the statistics of the reference's BatchNorm."""
    model = ConvNormRelu()
    variables = settled(model, IMAGE)
    _, traced, _ = linger_jax.trace_layers(model, variables, IMAGE, train=True)
    jax.tree.map(np.testing.assert_array_equal, traced, variables)


def test_a_fused_model_trains_in_a_train_state_quantized_constrained_and_float():
    model = ConvNormRelu()
    fused, variables, _ = linger_jax.trace_layers(model, settled(model, IMAGE), IMAGE)
    target = jnp.ones((2, 9, 9, 4))

    class State(TrainState):
        rest: Any

    def losses(runs, start):
        state = State.create(
            apply_fn=runs.apply,
            params=start["params"],
            tx=optax.sgd(0.05),
            rest={name: entries for name, entries in start.items() if name != "params"},
        )

        @jax.jit
        def step(state):
            def loss(params):
                y, updates = state.apply_fn(
                    {"params": params, **state.rest}, IMAGE, train=True, mutable=["quant", "batch_stats"]
                )
                return jnp.mean(jnp.square(y - target)), updates

            (value, updates), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
            return state.apply_gradients(grads=grads, rest={**state.rest, **updates}), value

        values = []
        for _ in range(4):
            state, value = step(state)
            values.append(float(value))
        return values

    cmodel, qmodel = linger_jax.constrain(fused), linger_jax.init(fused)
    for runs, start in ((fused, variables), (cmodel, cmodel.adopt(variables, IMAGE))):
        values = losses(runs, start)
        assert values == sorted(values, reverse=True)
    start = qmodel.adopt(variables, IMAGE)
    assert start["batch_stats"] == {}, "a loop that hands this collection on keeps working"
    values = losses(qmodel, start)
    assert values[-1] < values[0]


def test_a_fused_model_is_a_value():
    model = ConvNormRelu()
    fused, variables, _ = linger_jax.trace_layers(model, settled(model, IMAGE), IMAGE)
    copy = pickle.loads(pickle.dumps(fused))
    assert copy == fused
    assert hash(copy) == hash(fused)
    np.testing.assert_array_equal(copy.apply(variables, IMAGE), fused.apply(variables, IMAGE))
    assert fused.plan(variables, IMAGE).rows()[0].op == "Conv+BatchNorm"
    assert jax.tree.structure(fused.init(KEY, IMAGE)) == jax.tree.structure(model.init(KEY, IMAGE))


# --- converting it ---------------------------------------------------------------------------------------------------


def test_init_folds_the_numbers_of_both_layers_into_a_convolution_with_a_bias():
    """In the reference, converting leaves fresh weights until a checkpoint is loaded.

    Source: docs/specification/config.md section 2.
    """
    model = ConvNormRelu(bias=False)
    variables = settled(model, IMAGE)
    fused, traced, _ = linger_jax.trace_layers(model, variables, IMAGE)
    qmodel = linger_jax.init(fused, {"clamp_info": OPEN})
    folded = qmodel.adopt(traced, IMAGE)
    p, s = variables["params"], variables["batch_stats"]["norm"]
    alpha = np.asarray(p["norm"]["scale"]) * (np.float32(1) / np.sqrt(np.asarray(s["var"]) + np.float32(1e-3)))
    np.testing.assert_array_equal(folded["params"]["conv"]["kernel"], np.asarray(p["conv"]["kernel"]) * alpha)
    np.testing.assert_array_equal(
        folded["params"]["conv"]["bias"], np.asarray(p["norm"]["bias"]) - np.asarray(s["mean"]) * alpha
    )
    assert set(folded["quant"]) == {"conv"}
    again = qmodel.adopt(folded, IMAGE)
    jax.tree.map(np.testing.assert_array_equal, again["params"], folded["params"])
    fresh = initialised(qmodel, IMAGE)
    assert jax.tree.structure(fresh) == jax.tree.structure(folded)


def test_the_reference_folds_with_its_own_epsilon_and_along_input_channels():
    model = ConvNormRelu(features=3, transposed=True, bias=False)
    variables = settled(model, IMAGE)
    fused, traced, _ = linger_jax.trace_layers(model, variables, IMAGE)
    folded = linger_jax.init(fused, {"compat": "reference", "clamp_info": OPEN}).adopt(traced, IMAGE)
    p, s = variables["params"], variables["batch_stats"]["norm"]
    alpha = np.asarray(p["norm"]["scale"]) * (np.float32(1) / np.sqrt(np.asarray(s["var"]) + np.float32(1e-5)))
    np.testing.assert_array_equal(folded["params"]["conv"]["kernel"], np.asarray(p["conv"]["kernel"]) * alpha[:, None])


def test_a_relu_mark_makes_the_output_statistic_one_sided():
    x = random_array(3, 16, 5)

    def model(x):
        return nn.relu(nn.Dense(4, name="layer")(x))

    variables = jax.tree.map(jnp.negative, Calls(model).init(KEY, x))
    fused, variables, _ = linger_jax.trace_layers(Calls(model), variables, x)
    outputs = nn.Dense(4).apply({"params": variables["params"]["layer"]}, x)
    assert -outputs.min() > outputs.max()
    exact = {"quant_info": {"weight_bits": 24, "activate_bits": 24}, "clamp_info": OPEN}
    qmodel = linger_jax.init(fused, exact)
    _, updates = qmodel.apply(qmodel.adopt(variables, x), x, mutable=["quant"])
    quantizers = updates["quant"]["layer"]
    np.testing.assert_allclose(quantizers["output_quantizer"]["running_data"], outputs.max(), rtol=1e-5)
    np.testing.assert_allclose(quantizers["input_quantizer"]["running_data"], jnp.abs(x).max(), rtol=1e-5)


def test_a_constrained_pair_clips_folded_weights_and_keeps_running_statistics():
    """In the reference, constraining drops running statistics, those inside ConvBN too.

    Source: docs/specification/config.md section 5.
    """
    model = ConvNormRelu()
    fused, variables, _ = linger_jax.trace_layers(model, settled(model, IMAGE), IMAGE)
    clamps = {"clamp_weight_value": 0.05, "clamp_bias_value": 0.1, "clamp_activation_value": 0.3}
    cmodel = linger_jax.constrain(fused, {"clamp_info": clamps})
    adopted = cmodel.adopt(variables, IMAGE)
    jax.tree.map(np.testing.assert_array_equal, adopted, variables)
    p, s = variables["params"], variables["batch_stats"]["norm"]
    p, s = jax.tree.map(np.asarray, (p, s))
    factor = p["norm"]["scale"] / np.sqrt(s["var"] + np.float32(1e-3))
    kernel = np.clip(p["conv"]["kernel"] * factor, -0.05, 0.05)
    bias = np.clip((p["conv"]["bias"] - s["mean"]) * factor + p["norm"]["bias"], -0.1, 0.1)
    want = nn.Conv(4, (3, 3)).apply({"params": {"kernel": kernel, "bias": bias}}, IMAGE)
    np.testing.assert_allclose(cmodel.apply(adopted, IMAGE), jnp.clip(want, 0, 0.3), rtol=1e-5, atol=1e-6)


def test_a_disabled_pair_stays_one_float_layer_with_its_own_variables():
    model = ConvNormRelu()
    fused, variables, _ = linger_jax.trace_layers(model, settled(model, IMAGE), IMAGE)
    plan = linger_jax.constrain(fused, disable_submodel="conv").plan(variables, IMAGE)
    assert [(row.op, row.status) for row in plan.rows()] == [("Conv+BatchNorm", "disabled")]

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return nn.Dense(3, name="head")(ConvNormRelu(name="block")(x, train=train).mean((1, 2)))

    fused, variables, _ = linger_jax.trace_layers(Outer(), settled(Outer(), IMAGE), IMAGE)
    for options in ({"disable_submodel": "block*"}, {"disable_module": ConvNormRelu}, {"disable_module": nn.Conv}):
        qmodel = linger_jax.init(fused, **options)
        adopted = qmodel.adopt(variables, IMAGE)
        assert set(adopted["params"]["block"]) == {"conv", "norm"}
        assert [row.status for row in qmodel.plan(adopted, IMAGE).rows()] == ["disabled", "quantized"]
        _, updates = qmodel.apply(adopted, IMAGE, train=True, mutable=["quant", "batch_stats"])
        assert (
            updates["batch_stats"]["block"]["norm"]["mean"] != adopted["batch_stats"]["block"]["norm"]["mean"]
        ).all()


# --- errors ----------------------------------------------------------------------------------------------------------


class TwoWays(nn.Module):
    """The convolution's result is read by the normalization only, or by a sum too."""

    @nn.compact
    def __call__(self, x, *, shortcut=False):
        y = nn.Conv(3, (3, 3), name="conv")(x)
        return norm("norm")(y) + (y if shortcut else 0.0)


def test_a_call_that_uses_a_pair_in_another_way_is_refused():
    variables = TwoWays().init(KEY, IMAGE)
    fused, variables, _ = linger_jax.trace_layers(TwoWays(), variables, IMAGE)
    qmodel = linger_jax.init(fused)
    adopted = qmodel.adopt(variables, IMAGE)
    for run, values in ((fused.apply, variables), (qmodel.apply, adopted)):
        with pytest.raises(PlanError, match=r"'conv' and 'norm' are fused, but in this call.*trace_layers"):
            run(values, IMAGE, shortcut=True)


def test_variables_of_one_of_the_two_layers_only_are_refused():
    fused, variables, _ = linger_jax.trace_layers(
        ConvNormRelu(bias=False), settled(ConvNormRelu(bias=False), IMAGE), IMAGE
    )
    qmodel = linger_jax.init(fused)
    with pytest.raises(LingerError, match="no running statistics of the normalization"):
        qmodel.adopt({"params": variables["params"]}, IMAGE)
    lacking = {**variables, "params": {"norm": variables["params"]["norm"]}}
    with pytest.raises(LingerError, match="no kernel of the convolution"):
        qmodel.adopt(lacking, IMAGE)


def test_what_is_no_unbound_module_is_refused():
    with pytest.raises(LingerError, match=r"expected a flax\.linen Module instance, got int"):
        linger_jax.trace_layers(3, {}, IMAGE)
    bound = ConvNormRelu().bind(ConvNormRelu().init(KEY, IMAGE))
    with pytest.raises(LingerError, match="bound to variables"):
        linger_jax.trace_layers(bound, {}, IMAGE)

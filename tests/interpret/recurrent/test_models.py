"""Quantized nn.RNN and nn.Bidirectional against the float layer: with enough bits only kernels' last bits differ."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.errors import LingerWarning
from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from linger_jax.quantizers import QTensor
from tests.models import drawn, initialised, random_array

IN, HIDDEN, BATCH, TIME = 3, 4, 3, 5
# Extremes a little below powers of two: their grids cut nothing.
X = jnp.clip(random_array(0, BATCH, TIME, IN), -0.96, 0.96)
LENGTHS = jnp.array([5, 2, 4])
# Not 16: the GRU of venusA keeps its gates at the finest grid of all in 32 bits, +-1 at 16 by 16 bits.
FINE = {"weight_bits": 12, "activate_bits": 12}
PLATFORMS = ("venus", "arcs", "mars", "venusA")
NEAR = 4e-3
CELLS = {
    "LSTMCell": nn.LSTMCell,
    "GRUCell": lambda n: nn.GRUCell(n, bias_init=nn.initializers.normal(0.5)),
}


def quantized(model, platform="venusA", compat="chip", **bits):
    return linger_jax.init(model, {"platform": platform, "compat": compat, "quant_info": {**FINE, **bits}})


def trained_step(model, *args, platform="venusA", **kwargs):
    """Outputs of one training step and of the float model on the same parameters, and the variables after it."""
    qmodel = quantized(model, platform)
    params = jax.tree.map(lambda w: jnp.clip(w, -0.48, 0.48), model.init(jax.random.key(0), *args, **kwargs)["params"])
    variables = qmodel.adopt({"params": params}, *args, **kwargs)
    found, updates = qmodel.apply(variables, *args, mutable=["quant"], **kwargs)
    return found, model.apply({"params": variables["params"]}, *args, **kwargs), {**variables, **updates}


def assert_near(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=NEAR, rtol=0), found, wanted)


class Mixed(nn.Module):
    """Flax's LSTM cells have no input bias (docs/codes.md R11)."""

    @nn.compact
    def __call__(self, x):
        x = nn.RNN(nn.OptimizedLSTMCell(HIDDEN))(x)
        return nn.RNN(nn.GRUCell(HIDDEN))(x)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_layers_are_near_the_float_layers_on_every_platform(platform):
    """Under chip every platform computes the float layer's GRU.

    Source: docs/decisions.md D1 and D2, docs/codes.md R1 and R3.
    """
    found, wanted, _ = trained_step(Mixed(), X, platform=platform)
    assert_near(found, wanted)


@pytest.mark.parametrize("cell", [TorchLSTMCell, TorchGRUCell], ids=["lstm", "gru"])
def test_evaluation_of_two_directions_is_near_the_float_layer(cell):
    model = nn.Bidirectional(nn.RNN(cell(HIDDEN)), nn.RNN(cell(HIDDEN)), return_carry=True)
    _, wanted, variables = trained_step(model, X)
    assert_near(quantized(model).apply(variables, X), wanted)


OPTIONS = {
    "time major": ({"time_major": True, "reverse": True}, {}),
    "lengths": ({"return_carry": True}, {"seq_lengths": LENGTHS}),
    "all of them": (
        {"reverse": False},
        {"time_major": True, "reverse": True, "keep_order": True, "seq_lengths": LENGTHS, "return_carry": True},
    ),
}


def within_lengths(tree, kwargs, time_major):
    """Outputs with zeros behind the end of each sequence: what stands there in Flax's result means nothing."""
    if "seq_lengths" not in kwargs:
        return tree
    inside = jnp.arange(TIME)[None] < LENGTHS[:, None]
    inside = (inside.T if time_major else inside)[..., None]
    return jax.tree.map(lambda y: jnp.where(inside, y, jnp.zeros_like(y)) if y.ndim == 3 else y, tree)


@pytest.mark.parametrize(("options", "kwargs"), OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("cell", [TorchLSTMCell, nn.GRUCell], ids=["lstm", "gru"])
def test_every_option_means_what_it_means_in_flax(cell, options, kwargs):
    time_major = options.get("time_major", kwargs.get("time_major", False))
    x = jnp.swapaxes(X, 0, 1) if time_major else X
    found, wanted, _ = trained_step(nn.RNN(cell(HIDDEN), **options), x, **kwargs)
    assert_near(found, within_lengths(wanted, kwargs, time_major))


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell], ids=["lstm", "gru"])
def test_gradients_are_near_those_of_the_float_layer(cell):
    """Of input, initial state and every parameter, with lengths too (docs/codes.md R13)."""
    model = nn.RNN(cell(HIDDEN), reverse=True, return_carry=True)
    qmodel = quantized(model)
    state = jnp.clip(random_array(1, BATCH, HIDDEN), -0.5, 0.5)
    carry = (state, -state) if cell is nn.LSTMCell else state
    params = jax.tree.map(lambda w: jnp.clip(w, -0.48, 0.48), model.init(jax.random.key(0), X)["params"])
    variables = qmodel.adopt({"params": params}, X, initial_carry=carry, seq_lengths=LENGTHS)
    weights = random_array(2, BATCH, TIME, HIDDEN)
    kwargs = {"seq_lengths": LENGTHS}

    def slopes(run):
        def loss(params, x, carry):
            last, y = run(params, x, carry)
            y = within_lengths(y, kwargs, time_major=False)
            return jnp.sum(y * weights) + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(last))

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(variables["params"], X, carry)

    found = slopes(
        lambda params, x, carry: qmodel.apply(
            {**variables, "params": params}, x, initial_carry=carry, mutable=["quant"], **kwargs
        )[0]
    )
    wanted = slopes(lambda params, x, carry: model.apply({"params": params}, x, initial_carry=carry, **kwargs))
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.02 * np.abs(b).max(), rtol=0), found, wanted)


@pytest.mark.parametrize("cell", [TorchLSTMCell, TorchGRUCell], ids=["lstm", "gru"])
def test_two_directions_with_lengths_and_initial_state(cell):
    state = jnp.clip(random_array(1, BATCH, HIDDEN), -0.5, 0.5)
    carry = (state, -state) if cell is TorchLSTMCell else state
    model = nn.Bidirectional(nn.RNN(cell(HIDDEN)), nn.RNN(cell(HIDDEN)), time_major=True)
    kwargs = {"initial_carry": (carry, carry), "seq_lengths": LENGTHS, "return_carry": True}
    x = jnp.swapaxes(X, 0, 1)
    found, wanted, _ = trained_step(model, x, **kwargs)
    assert_near(found, within_lengths(wanted, kwargs, time_major=True))


def test_batch_may_have_no_axis_or_several():
    model = nn.RNN(TorchGRUCell(HIDDEN), return_carry=True)
    x = jnp.clip(random_array(0, 2, 2, TIME, IN), -0.96, 0.96)
    assert_near(*trained_step(model, x)[:2])
    assert_near(*trained_step(model, x[0, 0])[:2])


@pytest.mark.parametrize("cell", ["LSTMCell", "GRUCell"])
def test_gates_of_flax_and_matrices_of_torch_are_the_same_layer(cell):
    """The gates' kernels are quantized as one matrix each: same bits, and gradients that reach every gate."""
    torch_cell, letters = (TorchLSTMCell, "ifgo") if cell == "LSTMCell" else (TorchGRUCell, "rzn")
    flax_params = nn.RNN(CELLS[cell](HIDDEN)).init(jax.random.key(3), X)["params"]["cell"]
    # One gate much larger than the others: a scale for each gate would show.
    flax_params[f"i{letters[0]}"]["kernel"] = flax_params[f"i{letters[0]}"]["kernel"] * 5.0

    def joined(params):
        zeros = jnp.zeros((HIDDEN,))
        sides = {"ih": [params[f"i{g}"] for g in letters], "hh": [params[f"h{g}"] for g in letters]}
        weights = {f"weight_{s}": jnp.concatenate([g["kernel"] for g in gates], -1) for s, gates in sides.items()}
        biases = {f"bias_{s}": jnp.concatenate([g.get("bias", zeros) for g in gates]) for s, gates in sides.items()}
        return {**weights, **biases}

    def step(model, params):
        qmodel = quantized(model, weight_bits=8, activate_bits=8)
        variables = qmodel.adopt({"params": {"cell": params}}, X)

        def loss(params):
            y, updates = qmodel.apply({**variables, "params": params}, X, mutable=["quant"])
            return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32).reshape(y.shape))), (y, updates)

        slopes, (y, updates) = jax.grad(loss, has_aux=True)(variables["params"])
        return variables["params"]["cell"], slopes["cell"], y, updates["quant"]

    ours = step(nn.RNN(CELLS[cell](HIDDEN)), flax_params)
    theirs = step(nn.RNN(torch_cell(HIDDEN)), joined(flax_params))
    np.testing.assert_array_equal(ours[2], theirs[2])
    for name, wanted in joined(ours[0]).items():
        np.testing.assert_array_equal(theirs[0][name], wanted)
    for name, wanted in joined(ours[1]).items():
        if name.startswith("weight"):
            np.testing.assert_array_equal(theirs[1][name], wanted)
    same = [q for q in ours[3] if not q.startswith("bias")]
    jax.tree.map(np.testing.assert_array_equal, {q: ours[3][q] for q in same}, {q: theirs[3][q] for q in same})
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(ours[1]))


@pytest.mark.filterwarnings("ignore:clamps cut values:linger_jax.LingerWarning")
def test_one_time_clamp_bounds_a_matrix_by_its_own_mean():
    """Init returns the gates clamped as one matrix, with the flag set (docs/decisions.md D24)."""
    model = nn.RNN(nn.LSTMCell(HIDDEN, kernel_init=nn.initializers.normal(1.0)))
    params = drawn(model, X)["params"]
    qmodel = linger_jax.init(model, {"clamp_info": {"clamp_factor_value": 1.0}})
    variables = qmodel.adopt({"params": params}, X)
    for side, name in (("i", "weightih"), ("h", "weighthh")):
        gates = [params["cell"][side + g]["kernel"] for g in "ifgo"]
        bound = np.float32(np.mean(np.abs(np.stack(gates)).astype(np.float64)))
        for g, before in zip("ifgo", gates, strict=True):
            np.testing.assert_array_equal(
                variables["params"]["cell"][side + g]["kernel"], np.clip(before, -bound, bound)
            )
        assert variables["quant"][f"{name}_quantizer"]["is_init_mom_clamp_weight"]
    np.testing.assert_array_equal(variables["params"]["cell"]["hi"]["bias"], params["cell"]["hi"]["bias"])


class Stack(nn.Module):
    """Two recurrent layers and a head that looks at the last step."""

    @nn.compact
    def __call__(self, x):
        x = nn.RNN(nn.GRUCell(HIDDEN), name="first")(x)
        x = nn.RNN(nn.GRUCell(HIDDEN), reverse=True, name="second")(x)
        return x[:, -1]


def test_outputs_travel_as_qtensors():
    qmodel = linger_jax.init(Stack())
    variables = initialised(qmodel, X)
    y, updates = qmodel.apply_qtensor(variables, X, mutable=["quant"])
    assert isinstance(y, QTensor)
    np.testing.assert_array_equal(y.value * y.scale, np.round(y.value * y.scale))
    quant = updates["quant"]
    assert quant["second"]["input_quantizer"]["scale"] == quant["first"]["output_quantizer"]["scale"]
    assert not quant["second"]["input_quantizer"]["is_init"]


def test_evaluation_before_training_warns():
    """See docs/decisions.md D6, docs/codes.md R5."""
    qmodel = linger_jax.init(nn.RNN(TorchGRUCell(HIDDEN)))
    variables = initialised(qmodel, X)
    with pytest.warns(
        LingerWarning, match="never saw data .*: input_quantizer, weightih_quantizer, weighthh_quantizer"
    ):
        qmodel.apply(variables, X)


def test_initial_state_may_come_from_other_layers():
    class Translator(nn.Module):
        @nn.compact
        def __call__(self, x):
            carry, _ = nn.RNN(nn.LSTMCell(HIDDEN), return_carry=True)(x)
            y = nn.RNN(nn.LSTMCell(HIDDEN))(x, initial_carry=carry)
            return nn.RNN(nn.GRUCell(HIDDEN))(y, initial_carry=y[:, 0])

    found, wanted, _ = trained_step(Translator(), X)
    assert_near(found, wanted)


@pytest.mark.filterwarnings("ignore:clamps cut values:linger_jax.LingerWarning")
def test_partitioned_parameters_stay_boxed_and_are_clamped():
    kernel_init = nn.with_partitioning(nn.initializers.normal(1.0), (None, "model"))
    config = {"clamp_info": {"clamp_factor_value": 1}}
    qmodel = linger_jax.init(nn.RNN(nn.LSTMCell(HIDDEN, kernel_init=kernel_init)), config)
    kernel = initialised(qmodel, X)["params"]["cell"]["ii"]["kernel"]
    assert isinstance(kernel, nn.Partitioned)
    assert jnp.sum(jnp.abs(kernel.value) == jnp.max(jnp.abs(kernel.value))) > 1


class Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + nn.RNN(TorchGRUCell(IN), name="rnn")(x), None


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        scan = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
        return scan(name="steps")(x, None)[0]


class Unrolled(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i in range(2):
            x, _ = Step(name=f"step_{i}")(x, None)
        return x


def test_layers_stacked_by_a_scan_are_layers_of_their_own():
    scanned, unrolled = linger_jax.init(Scanned()), linger_jax.init(Unrolled())
    variables = initialised(scanned, X)

    def of(i):
        return jax.tree.map(lambda leaf: leaf[i], variables["params"]["steps"])

    apart = unrolled.adopt({"params": {f"step_{i}": of(i) for i in range(2)}}, X)
    y, updates = scanned.apply(variables, X, mutable=["quant"])
    wanted, separate = unrolled.apply(apart, X, mutable=["quant"])
    np.testing.assert_array_equal(y, wanted)
    scales = updates["quant"]["steps"]["rnn"]
    for i in range(2):
        for name in ("weightih_quantizer", "hidden_quantizer"):
            assert scales[name]["running_data"][i] == separate["quant"][f"step_{i}"]["rnn"][name]["running_data"]


def test_remat_changes_no_bit_of_the_result():
    class Plain(nn.Module):
        wrap: bool = False

        @nn.compact
        def __call__(self, x):
            return (nn.remat(nn.RNN) if self.wrap else nn.RNN)(TorchLSTMCell(HIDDEN), name="rnn")(x)

    plain, wrapped = linger_jax.init(Plain()), linger_jax.init(Plain(wrap=True))
    variables = initialised(plain, X)

    def slopes(qmodel):
        def loss(params):
            y, _ = qmodel.apply({**variables, "params": params}, X, mutable=["quant"])
            return jnp.sum(y)

        return jax.jit(jax.value_and_grad(loss))(variables["params"])

    (loss, gradients), (wanted, others) = slopes(plain), slopes(wrapped)
    assert loss == wanted
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), gradients, others)

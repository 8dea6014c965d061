"""What ``chip`` does in recurrent layers, and that ``reference`` differs.

Source: docs/codes.md R1 to R19, docs/decisions.md D1 to D4.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
import linger_jax.nn
from linger_jax import LingerWarning
from linger_jax.interpret import Mode
from linger_jax.interpret.recurrent import DirectionWeights
from linger_jax.interpret.recurrent.float_layer import float_direction
from linger_jax.quantizers import QTensor
from tests.interpret.recurrent.layer_runs import ROWS, UNITS, Layer, X, directions, loss, on_grid, run, weights
from tests.models import initialised

CHIPS = ("venus", "arcs", "venusA")
LENGTHS = np.array([6, 2, 4, 1], np.int32)
INITIAL = ((np.full((ROWS, UNITS), 0.3, np.float32), np.full((ROWS, UNITS), -0.2, np.float32)),)


def float_outputs(layer: Layer, given=None):
    zeros = jnp.zeros((ROWS, UNITS), jnp.float32)
    state = (zeros, zeros) if layer.kind == "lstm" else (zeros,)
    return float_direction(layer.kind, X, (given or directions(layer))[0], state, None, reverse=False)[0]


def error(layer: Layer) -> float:
    """Mean distance from the float layer, once the scales have settled."""
    _, _, state = run(layer)
    outputs, _, _ = run(layer, state=state)
    return float(jnp.mean(jnp.abs(outputs.value - float_outputs(layer))))


@pytest.mark.parametrize("chip", CHIPS)
def test_every_chip_computes_the_float_gru(chip):
    """The update gate keeps the state, the reset gate comes after the matrix product (docs/decisions.md D1 and D2)."""
    assert error(Layer("gru", chip)) < 0.01


def test_the_reference_turns_the_update_gate_of_venus_around():
    assert error(Layer("gru", "venus", "reference")) > 5 * error(Layer("gru", "venus"))


def test_the_reference_resets_before_the_product():
    """The hidden bias of n is then not reset: with a large one the two forms part."""
    given = weights("gru")
    bias = given.bias_hh.at[2 * UNITS :].set(1.0).at[:UNITS].set(-1.0)
    given = [DirectionWeights(given.weight_ih, given.weight_hh, given.bias_ih, bias)]
    wanted = float_outputs(Layer("gru"), given)
    chip, _, _ = run(Layer("gru", "arcs"), given=given)
    reference, _, _ = run(Layer("gru", "arcs", "reference"), given=given)
    assert jnp.mean(jnp.abs(chip.value - wanted)) < 0.02
    assert jnp.mean(jnp.abs(reference.value - wanted)) > 0.1


@pytest.mark.parametrize(("compat", "reached"), [("chip", True), ("reference", False)])
def test_gradient_reaches_reset_and_new_gate_of_venus(compat, reached):
    layer = Layer("gru", "venus", compat)
    gradient = jax.grad(lambda given: loss(layer, (X, given)))(directions(layer))[0]
    for leaf in jax.tree.leaves(gradient):
        assert jnp.any(leaf[..., :UNITS] != 0) == reached
        assert jnp.any(leaf[..., 2 * UNITS :] != 0) == reached
        assert jnp.any(leaf[..., UNITS : 2 * UNITS] != 0)


def test_gates_beyond_sixteen_saturate():
    """An update gate at 20 keeps the state on the chip; the reference's kernel answers 0 and loses it.

    Source: docs/codes.md K1.
    """
    given = weights("gru")
    bias = given.bias_ih.at[UNITS : 2 * UNITS].set(20.0)
    given = [DirectionWeights(given.weight_ih, given.weight_hh, bias, given.bias_hh)]
    initial = (INITIAL[0][:1],)
    _, (final,), _ = run(Layer("gru", "venus"), given=given, initial=initial)
    np.testing.assert_allclose(final[0], initial[0][0], atol=0.02)
    # Turned around (docs/codes.md R1), an open gate takes the new value; a gate of 0 keeps the old one to the bit.
    _, (final,), state = run(Layer("gru", "venus", "reference"), given=given, initial=initial)
    scale = state["hidden_quantizer"]["scale"]
    np.testing.assert_array_equal(final[0], np.minimum(np.floor(initial[0][0] * scale + 0.5), 127) / scale)


def test_evaluation_of_a_layer_that_saw_nothing_warns():
    """By name; the cell's quantizer, a constant, and those of the biases with it are no news (docs/decisions.md D6)."""
    qmodel = linger_jax.init(nn.RNN(linger_jax.nn.TorchLSTMCell(UNITS)))
    x = jnp.swapaxes(X, 0, 1)
    variables = initialised(qmodel, x)
    with pytest.warns(LingerWarning, match="never saw data.*hidden_quantizer"):
        qmodel.apply(variables, x)


def test_hidden_scale_follows_the_statistic():
    """The whole range first, then what the steps before asked for; the reference keeps the first input scale.

    Source: docs/decisions.md D3.
    """
    layer, small = Layer("lstm"), directions(Layer("lstm"), spread=0.1)
    _, _, first = run(layer, given=small)
    assert first["hidden_quantizer"]["scale"] == 128
    largest = first["hidden_quantizer"]["running_data"]
    assert 0 < largest < 0.2
    _, _, second = run(layer, given=small, state=first)
    wanted = 2.0 ** np.rint(7 - np.log2(largest))
    assert second["hidden_quantizer"]["scale"] == wanted > 256
    frozen = Layer("lstm", compat="reference")
    _, _, first = run(frozen, 2.5 * X, given=small)
    _, _, second = run(frozen, X, given=small, state=first)
    assert (
        second["hidden_quantizer"]["scale"] == first["hidden_quantizer"]["scale"] == first["input_quantizer"]["scale"]
    )


def test_a_scale_that_became_too_fine_recovers():
    """The statistic sees the states before they are cut: one of cut values could never ask for a wider range."""
    layer = Layer("lstm", "arcs")
    _, _, state = run(layer, given=directions(layer, spread=0.02))
    large = directions(layer, spread=3.0)
    for _ in range(30):
        outputs, _, state = run(layer, given=large, state=state)
    assert state["hidden_quantizer"]["scale"] == 128
    assert jnp.max(jnp.abs(outputs.value)) > 0.7


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_declared_scale_is_the_one_the_values_lie_on(kind):
    layer = Layer(kind)
    _, _, state = run(layer)
    outputs, _, state = run(layer, state=state)
    assert outputs.scale == state["hidden_quantizer"]["scale"] == state["output_quantizer"]["scale"]
    assert on_grid(outputs.value, outputs.scale)
    evaluated, _, _ = run(layer, state=state, mode=Mode.evaluate)
    assert evaluated.scale == outputs.scale
    old = Layer(kind, compat="reference")
    outputs, _, state = run(old, 4.0 * X)
    assert outputs.scale == state["output_quantizer"]["scale"] != state["hidden_quantizer"]["scale"]


def test_both_directions_lie_on_the_smaller_scale():
    layer = Layer("gru", directions=2)
    given = [weights("gru", 0, spread=0.05), weights("gru", 1, spread=1.0)]
    _, _, state = run(layer, given=given)
    outputs, _, state = run(layer, given=given, state=state)
    fine = 2.0 ** np.rint(7 - np.log2(state["hidden_quantizer"]["running_data"]))
    scale = state["hidden_quantizer"]["scale"]
    assert outputs.scale == scale == state["hidden_reverse_quantizer"]["scale"] < fine
    assert on_grid(outputs.value, scale)


@pytest.mark.parametrize("compat", ["chip", "reference"])
def test_a_gru_trains_under_tqt(compat):
    layer = Layer("gru", "arcs", compat, "TQT")
    outputs, _, state = run(layer)
    assert state["hidden_quantizer"]["scale"] == 2.0 ** np.rint(7 - 2.1) or compat == "reference"
    assert on_grid(outputs.value, state["hidden_quantizer"]["scale"])
    assert "running_data" not in state["output_quantizer"]


@pytest.mark.parametrize(("kind", "method"), [("lstm", "MOM"), ("gru", "TQT")])
def test_calibration_gives_each_direction_its_own_data(kind, method):
    """One direction or two; the float layer's results come back (docs/decisions.md D7)."""
    layer = Layer(kind, method=method, directions=2)
    given = [weights(kind, 0, spread=0.05), weights(kind, 1, spread=1.0)]
    outputs, finals, state = run(layer, given=given, mode=Mode.calibrate)
    np.testing.assert_allclose(outputs.value[..., :UNITS], float_outputs(layer, given[:1]), atol=1e-6)
    assert [len(final) for final in finals] == [2 if kind == "lstm" else 1] * 2
    np.testing.assert_array_equal(finals[0][0], outputs.value[-1, :, :UNITS])
    np.testing.assert_array_equal(finals[1][0], outputs.value[0, :, UNITS:])
    entry = "running_data" if method == "MOM" else "learning_data"
    for half, name in ((slice(None, UNITS), ""), (slice(UNITS, None), "_reverse")):
        own = np.sort(np.abs(outputs.value[..., half]).reshape(-1))[-10]  # top_10
        found = state[f"hidden{name}_quantizer"][entry]
        np.testing.assert_allclose(found, own if method == "MOM" else [np.log2(own)], rtol=1e-6)
        np.testing.assert_array_equal(state[f"output{name}_quantizer"][entry], found)
    scale = min(state[f"hidden{name}_quantizer"]["scale"] for name in ("", "_reverse"))
    np.testing.assert_array_equal(
        state["biashh_quantizer"]["scale"], min(2.0**23, scale * state["weighthh_quantizer"]["scale"])
    )
    evaluated, _, _ = run(layer, given=given, state=state, mode=Mode.evaluate)
    assert evaluated.scale == scale
    assert jnp.mean(jnp.abs(evaluated.value - outputs.value)) < 0.02


def test_calibration_of_one_direction_works():
    layer = Layer("lstm")
    outputs, finals, state = run(layer, mode=Mode.calibrate)
    assert isinstance(outputs, QTensor)
    assert len(finals[0]) == 2
    assert state["hidden_quantizer"]["is_init"]


def test_a_layer_without_bias():
    given = [DirectionWeights(*jax.tree.leaves(weights("lstm"))[:2])]
    zeros = jnp.zeros((4 * UNITS,), jnp.float32)
    with_zeros = [DirectionWeights(given[0].weight_ih, given[0].weight_hh, zeros, zeros)]
    without, _, state = run(Layer(), given=given)
    np.testing.assert_array_equal(without.value, run(Layer(), given=with_zeros)[0].value)
    assert state["biasih_quantizer"]["scale"] == 1


@pytest.mark.parametrize("compat", ["chip", "reference"])
def test_outputs_with_lengths_stay_quantized(compat):
    outputs, _, _ = run(Layer(compat=compat), lengths=LENGTHS)
    assert isinstance(outputs, QTensor) == (compat == "chip")


def test_a_differentiable_initial_state_with_lengths():
    layer = Layer()
    gradient = jax.grad(lambda initial: loss(layer, (X, directions(layer)), initial=initial, lengths=LENGTHS))(INITIAL)
    assert all(jnp.all(leaf != 0) for leaf in jax.tree.leaves(gradient))


def test_an_initial_state_is_rounded_but_not_cut():
    """A row of no steps answers with what it was given, far outside of 8 bits."""
    given = ((np.full((ROWS, UNITS), 2.503, np.float32), np.full((ROWS, UNITS), 0.0, np.float32)),)
    _, (final,), _ = run(Layer(), initial=given, lengths=np.array([0, 6, 6, 6], np.int32))
    np.testing.assert_array_equal(final[0][0], np.full(UNITS, 320 / 128))


@pytest.mark.parametrize(("chip", "bounded"), [("arcs", True), ("venusA", True), ("venus", False)])
def test_the_cell_stays_within_three_where_its_products_saturate(chip, bounded):
    """What is kept of the cell is cut at 2; venus adds both products exactly."""
    bias = jnp.full((4 * UNITS,), 6.0, jnp.float32)
    given = [DirectionWeights(jnp.zeros((3, 4 * UNITS)), jnp.zeros((UNITS, 4 * UNITS)), bias, bias)]
    _, (final,), _ = run(Layer("lstm", chip), given=given)
    assert jnp.all((final[1] <= 3.0) == bounded)
    assert jnp.all(final[1] > 2.9)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_zero_initial_state_is_as_none(kind):
    """The reference takes the finest of all scales for it (docs/decisions.md D4)."""
    zeros = (tuple(np.zeros((ROWS, UNITS), np.float32) for _ in range(2 if kind == "lstm" else 1)),)
    given, _, state = run(Layer(kind), initial=zeros)
    none, _, wanted = run(Layer(kind))
    np.testing.assert_array_equal(given.value, none.value)
    jax.tree.map(np.testing.assert_array_equal, state, wanted)
    _, _, state = run(Layer(kind, compat="reference"), initial=zeros)
    assert state["hidden_quantizer"]["scale"] == 2.0**23


def test_the_scale_of_the_cell_is_a_constant():
    for mode in (Mode.train, Mode.evaluate):
        assert run(Layer(), mode=mode)[2]["cell_quantizer"]["scale"] == 2.0**15
    state = run(Layer())[2]
    state["cell_quantizer"] = {**state["cell_quantizer"], "scale": jnp.float32(1)}
    changed, _, _ = run(Layer(), state=state, mode=Mode.evaluate)
    state["cell_quantizer"] = {**state["cell_quantizer"], "scale": jnp.float32(2.0**15)}
    np.testing.assert_array_equal(changed.value, run(Layer(), state=state, mode=Mode.evaluate)[0].value)

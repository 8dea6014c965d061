"""What holds for every recurrent layer: lengths, gradients, transformations, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from linger_jax import LingerError
from linger_jax.interpret import Mode
from linger_jax.interpret.recurrent.float_layer import float_direction
from tests.interpret.recurrent.layer_runs import ROWS, STEPS, UNITS, Layer, X, compiled, directions, loss, run

LENGTHS = np.array([6, 2, 4, 1], np.int32)
INSIDE = (np.arange(STEPS)[:, None] < LENGTHS)[..., None]


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


# --- lengths (docs/specification/recurrent.md section 6) --------------------------------------------------------------


@pytest.mark.parametrize(("kind", "compat"), [("lstm", "chip"), ("gru", "reference")])
def test_padding_shows_nowhere(kind, compat):
    """Neither in outputs, final states and statistics nor in gradients."""
    layer = Layer(kind, compat=compat, directions=2)
    other = jnp.where(INSIDE, X, 50.0)
    same(run(layer, lengths=LENGTHS), run(layer, other, lengths=LENGTHS))
    slope = jax.grad(lambda arguments: loss(layer, arguments, lengths=LENGTHS))
    one, two = slope((X, directions(layer))), slope((other, directions(layer)))
    same(one, two)
    np.testing.assert_array_equal(jnp.where(INSIDE, 0, one[0]), np.zeros_like(X))


def test_a_row_with_a_length_is_the_row_alone():
    layer = Layer("lstm", "arcs", directions=2)
    _, _, state = run(layer)
    outputs, finals, _ = run(layer, state=state, lengths=LENGTHS, mode=Mode.evaluate)
    for row, length in [*enumerate(LENGTHS)][:2]:
        alone, last, _ = run(layer, X[:length, row : row + 1], state=state, mode=Mode.evaluate)
        np.testing.assert_array_equal(outputs.value[:length, row], alone.value[:, 0])
        np.testing.assert_array_equal(outputs.value[length:, row], np.zeros((STEPS - length, 2 * UNITS)))
        same([leaf[row] for leaf in jax.tree.leaves(finals)], [leaf[0] for leaf in jax.tree.leaves(last)])


def test_full_lengths_are_no_lengths():
    layer = Layer("lstm", directions=2)
    same(run(layer, lengths=np.full(ROWS, STEPS, np.int32)), run(layer))


# --- gradients (docs/specification/recurrent.md section 5) ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "chip", "method"),
    [
        ("lstm", "venus", "MOM"),
        ("lstm", "arcs", "TQT"),
        ("gru", "venus", "TQT"),
        ("gru", "arcs", "MOM"),
        ("gru", "venusA", "MOM"),
    ],
)
def test_gradients_are_those_of_the_float_layer(kind, chip, method):
    """With fine grids, to what the kernels' gate values differ from the float gates."""
    layer = Layer(kind, chip, method=method, bits=12)
    zeros = jnp.zeros((ROWS, UNITS), jnp.float32)

    def float_loss(arguments):
        x, given = arguments
        initial = (zeros,) * (2 if kind == "lstm" else 1)
        y = float_direction(kind, x, given[0], initial, None, reverse=False)[0]
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    arguments = (X, directions(layer))
    found, wanted = jax.grad(lambda a: loss(layer, a))(arguments), jax.grad(float_loss)(arguments)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, atol=0.02 * np.abs(other).max())


def test_threshold_of_the_hidden_quantizer_learns_where_states_are_cut():
    """ln 2 * sum g (y - [inside] x) at the cell's own rounding: here by hand from the outputs.

    Source: docs/decisions.md D3.
    """
    layer = Layer("lstm", "arcs", method="TQT")
    state = run(layer)[2]
    state["hidden_quantizer"] = {**state["hidden_quantizer"], "learning_data": jnp.full((1,), -3.0)}

    def last_step(threshold):
        entries = {**state, "hidden_quantizer": {**state["hidden_quantizer"], "learning_data": threshold}}
        outputs, _, _ = run(layer, X[:1], state=entries)
        return jnp.sum(outputs.value), outputs

    gradient, outputs = jax.grad(last_step, has_aux=True)(jnp.full((1,), -3.0))
    assert outputs.scale == 2.0**10
    cut = np.abs(outputs.value * outputs.scale + 0.5) > 127
    assert 3 < cut.sum() < cut.size
    # What is not cut moves by its rounding only: at most half a step each.
    wanted = np.log(2.0) * np.sum(outputs.value[cut])
    assert abs(gradient[0] - wanted) < np.log(2.0) * cut.size * 0.5 / outputs.scale


# --- transformations -------------------------------------------------------------------------------------------------


def test_neither_the_x64_flag_nor_jit_nor_remat_shows():
    layer = Layer("gru", "arcs", directions=2)
    slope = jax.jit(jax.value_and_grad(lambda a: loss(layer, a)))
    wanted = slope((X, directions(layer)))
    with jax.enable_x64(True):
        same(run(layer)[0].value, run(layer)[0].value)
        compiled.cache_clear()
        flagged = run(layer)
    compiled.cache_clear()
    same(flagged, run(layer))
    again = jax.jit(jax.value_and_grad(jax.checkpoint(lambda a: loss(layer, a))))((X, directions(layer)))
    same(again[0], wanted[0])
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_rows_on_two_devices_give_the_same_numbers():
    """The statistics are those of all rows (docs/decisions.md D17)."""
    layer = Layer("lstm", "venusA", directions=2)
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    spread = jax.device_put(X, NamedSharding(mesh, PartitionSpec(None, "rows")))
    same(run(layer, spread), run(layer))


def test_layers_may_be_mapped():
    layer = Layer("lstm", "venus")
    given = directions(layer)
    stacked = jnp.stack([X, -X])
    mapped = jax.vmap(lambda x: run(layer, x, given)[0].value)(stacked)
    for one, x in zip(mapped, stacked, strict=True):
        np.testing.assert_array_equal(one, run(layer, x, given)[0].value)


@pytest.mark.parametrize("compat", ["chip", "reference"])
def test_nan_reaches_the_outputs(compat):
    """A diverged training must not look healthy because integers hold no NaN."""
    outputs, _, _ = run(Layer(compat=compat), X.at[2, 1, 0].set(jnp.nan))
    assert jnp.all(jnp.isnan(outputs.value))


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x": X[:0]}, r"rnn: .*\(0, 4, 3\).*none of them 0"),
        ({"x": X[:, :0]}, r"none of them 0"),
        ({"x": X[..., :2]}, r"weight_ih has shape \(3, 20\); expected \(2, 20\)"),
        ({"lengths": np.ones(3, np.int32)}, r"lengths has shape \(3,\); expected one number a row, \(4,\)"),
        ({"initial": ((np.zeros((ROWS, UNITS), np.float32),),)}, r"initial state .* expected 2 of \(4, 5\)"),
    ],
    ids=["no steps", "no rows", "features", "lengths", "state"],
)
def test_what_does_not_fit_is_refused(arguments, text):
    with pytest.raises(LingerError, match=text):
        run(Layer(), **arguments)

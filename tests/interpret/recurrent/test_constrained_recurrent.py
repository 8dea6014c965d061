"""Constrained LSTM and GRU: the float layer, its matrices, biases and outputs clipped.

Source: docs/specification/recurrent.md section 8.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from tests.models import drawn, initialised, random_array

X = random_array(0, 3, 6, 4)


def constrained(model, x=X, **clamps):
    """The constrained model's output and the float model's variables; what is not set is not clamped."""
    config = {"clamp_info": {"clamp_factor_value": None, "clamp_activation_value": None, **clamps}}
    cmodel = linger_jax.constrain(model, config)
    variables = initialised(cmodel, x)
    return cmodel.apply(variables, x), variables


def both(cell, **options):
    return nn.Bidirectional(nn.RNN(cell()), nn.RNN(cell()), **options)


CELLS = {
    "lstm": lambda: nn.OptimizedLSTMCell(5, kernel_init=nn.initializers.normal(2.0)),
    "gru": lambda: nn.GRUCell(5, bias_init=nn.initializers.normal(2.0)),
    "torch lstm": lambda: TorchLSTMCell(5),
    "torch gru": lambda: TorchGRUCell(5),
}
CELL = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())


@pytest.mark.filterwarnings("ignore:constrain. every key of clamp_info is switched off:linger_jax.LingerWarning")
@CELL
def test_nothing_set_is_the_float_layer_with_its_own_weights(cell):
    """The weights are those of the source (docs/codes.md R17)."""
    y, variables = constrained(both(cell))
    np.testing.assert_array_equal(y, both(cell).apply(variables, X))


@CELL
def test_static_weight_value_clips_every_matrix(cell):
    y, variables = constrained(both(cell), clamp_weight_value=0.25, clamp_factor_value=7)

    def clip(path, value):
        return value if "bias" in jax.tree_util.keystr(path) else jnp.clip(value, -0.25, 0.25)

    wanted = both(cell).apply(jax.tree_util.tree_map_with_path(clip, variables), X)
    np.testing.assert_array_equal(y, wanted)
    assert not np.array_equal(y, both(cell).apply(variables, X))


def test_factor_is_of_the_whole_matrix_although_flax_keeps_its_gates_apart():
    cell = CELLS["lstm"]
    y, variables = constrained(nn.RNN(cell()), clamp_factor_value=0.5)
    params = variables["params"]["cell"]
    # One gate far larger than the others: its own mean would bound it differently.
    params["ii"]["kernel"] = params["ii"]["kernel"] * 8.0
    cmodel = linger_jax.constrain(
        nn.RNN(cell()), {"clamp_info": {"clamp_factor_value": 0.5, "clamp_activation_value": None}}
    )
    y = cmodel.apply(variables, X)
    clipped = {name: dict(entries) for name, entries in params.items()}
    for side in "ih":
        names = [side + gate for gate in "ifgo"]
        whole = np.concatenate([params[n]["kernel"] for n in names], axis=-1)
        bound = np.float32(0.5) * np.abs(whole).mean()
        for n in names:
            clipped[n]["kernel"] = np.clip(params[n]["kernel"], -bound, bound)
    np.testing.assert_allclose(y, nn.RNN(cell()).apply({"params": {"cell": clipped}}, X), atol=1e-6)


def test_each_direction_is_clipped_by_its_own_mean():
    model = both(CELLS["torch lstm"])
    variables = drawn(model, X)
    backward = variables["params"]["backward_rnn"]["cell"]
    backward["weight_hh"] = backward["weight_hh"] * 16.0
    config = {"clamp_info": {"clamp_factor_value": 1.0, "clamp_activation_value": None}}
    y = linger_jax.constrain(model, config).apply(variables, X)
    clipped = {"params": {}}
    for name, entries in variables["params"].items():
        cell = dict(entries["cell"])
        for matrix in ("weight_ih", "weight_hh"):
            bound = np.abs(cell[matrix]).mean()
            cell[matrix] = np.clip(cell[matrix], -bound, bound)
        clipped["params"][name] = {"cell": cell}
    np.testing.assert_allclose(y, model.apply(clipped, X), atol=1e-6)


def test_bias_value_clips_biases_and_needs_none():
    """A layer without bias is no error (docs/codes.md R17)."""
    y, variables = constrained(nn.RNN(TorchLSTMCell(5)), clamp_bias_value=0.1)
    cell = dict(variables["params"]["cell"])
    for name in ("bias_ih", "bias_hh"):
        cell[name] = jnp.clip(cell[name], -0.1, 0.1)
    np.testing.assert_array_equal(y, nn.RNN(TorchLSTMCell(5)).apply({"params": {"cell": cell}}, X))
    without = nn.RNN(TorchLSTMCell(5, use_bias=False))
    y, variables = constrained(without, clamp_bias_value=0.1)
    np.testing.assert_array_equal(y, without.apply(variables, X))


def test_activation_value_clips_outputs_and_not_the_final_state():
    model = nn.RNN(TorchGRUCell(5), return_carry=True)
    (carry, y), variables = constrained(model, clamp_activation_value=0.01)
    state, outputs = model.apply(variables, X)
    np.testing.assert_array_equal(y, jnp.clip(outputs, -0.01, 0.01))
    np.testing.assert_array_equal(carry, state)


def test_initial_state_given_by_keyword_counts():
    """The reference ignores it (docs/codes.md R17)."""
    model = nn.RNN(TorchGRUCell(5))
    cmodel = linger_jax.constrain(model)
    variables = initialised(cmodel, X)
    start = jnp.ones((3, 5))
    np.testing.assert_array_equal(
        cmodel.apply(variables, X, initial_carry=start), model.apply(variables, X, initial_carry=start)
    )


def test_gradient_stops_at_a_clipped_weight():
    model = nn.RNN(TorchLSTMCell(5))
    cmodel = linger_jax.constrain(model, {"clamp_info": {"clamp_weight_value": 0.2}})
    variables = initialised(cmodel, X)
    slopes = jax.grad(lambda p: jnp.sum(cmodel.apply({"params": p}, X)))(variables["params"])["cell"]["weight_ih"]
    outside = np.abs(variables["params"]["cell"]["weight_ih"]) > 0.2
    assert outside.any()
    np.testing.assert_array_equal(np.asarray(slopes) == 0, outside)

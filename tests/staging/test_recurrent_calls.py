"""A recurrent layer is one marker for the whole sequence, wherever its cell's parameters live."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.compat import equations
from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from tests.models import drawn, random_array
from tests.staging.staging_run import layer_names, layers, run_staged, scopes, staged_call

X = random_array(0, 2, 5, 4)
LENGTHS = jnp.array([5, 3])


def staged_and_float(model, *args, **kwargs):
    """The staged call, after checking that the marker alone gives the float layer's numbers."""
    variables = drawn(model, *args, **kwargs)
    staged, arrays = staged_call(model, variables, *args, **kwargs)
    wanted = model.apply(variables, *args, **kwargs)
    jax.tree.map(np.testing.assert_array_equal, run_staged(staged, variables, arrays)[0], wanted)
    return staged


def the_layer(model, *args, **kwargs):
    (info,) = layers(staged_and_float(model, *args, **kwargs))
    return info


CELLS = {
    "LSTMCell": ("lstm", nn.LSTMCell),
    "OptimizedLSTMCell": ("lstm", nn.OptimizedLSTMCell),
    "TorchLSTMCell": ("lstm", TorchLSTMCell),
    "GRUCell": ("gru", nn.GRUCell),
    "TorchGRUCell": ("gru", TorchGRUCell),
    "remat": ("gru", nn.remat(nn.GRUCell)),
    "subclass": ("gru", type("Mine", (nn.GRUCell,), {})),
}


@pytest.mark.model
@pytest.mark.parametrize("name", CELLS)
def test_known_cell_makes_a_layer_of_its_kind(name):
    kind, cell = CELLS[name]
    info = the_layer(nn.RNN(cell(3)), X)
    assert (info.kind.name, info.refusal, info.attributes["features"]) == (kind, None, 3)


class Compact(nn.Module):
    """The cell belongs to this module, not to the RNN."""

    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.LSTMCell(3))(x)


class Setup(nn.Module):
    """A cell of the RNN's own, and one that this module holds for a second RNN."""

    def setup(self):
        self.first = nn.RNN(nn.LSTMCell(3))
        self.cell = nn.GRUCell(3)
        self.second = nn.RNN(self.cell)

    def __call__(self, x):
        return self.second(self.first(x))


class Shared(nn.Module):
    """One cell in two layers."""

    @nn.compact
    def __call__(self, x):
        cell = nn.GRUCell(4)
        x = nn.RNN(cell)(x)
        return nn.RNN(cell)(x)


class Rematerialized(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.remat(nn.RNN)(nn.LSTMCell(3))(x)


class Reversing(nn.RNN):
    """A subclass that calls super()."""

    def __call__(self, x):
        return super().__call__(x, reverse=True) * 2.0


STYLES = {
    "compact": (Compact(), ["lstm:RNN_0"]),
    "setup": (Setup(), ["lstm:first", "gru:second"]),
    "shared cell": (Shared(), ["gru:RNN_0", "gru:RNN_1"]),
    "remat": (Rematerialized(), ["lstm:CheckpointRNN_0"]),
    "subclass": (Reversing(nn.LSTMCell(3)), ["lstm:<root>"]),
}


@pytest.mark.model
@pytest.mark.parametrize(("model", "names"), STYLES.values(), ids=STYLES.keys())
def test_layer_is_found_in_every_style_of_model(model, names):
    assert layer_names(staged_and_float(model, X)) == names


@pytest.mark.model
def test_marker_names_the_modules_it_swallows():
    info = the_layer(Compact(), X)
    assert info.inside == ((("LSTMCell_0",), nn.LSTMCell),)
    assert ("params", "0", "if", "kernel") in info.operands


CALLS = {
    "time major": {"time_major": True},
    "reverse": {"reverse": True},
    "reverse in order": {"reverse": True, "keep_order": True},
    "carry": {"return_carry": True},
}


@pytest.mark.model
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one direction", "two directions"])
@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS.keys())
def test_option_means_the_same_in_the_constructor_and_in_the_call(bidirectional, options):
    cells = [nn.GRUCell(3), nn.GRUCell(3)]
    if bidirectional:
        own = {k: v for k, v in options.items() if k in ("time_major", "return_carry")}
        built = nn.Bidirectional(nn.RNN(cells[0]), nn.RNN(cells[1]), **own)
        called = nn.Bidirectional(nn.RNN(cells[0]), nn.RNN(cells[1]))
    else:
        built, called = nn.RNN(cells[0], **options), nn.RNN(cells[0])
    first, second = the_layer(built, X), the_layer(called, X, **options)
    assert (dict(first.attributes), first.results) == (dict(second.attributes), second.results)


@pytest.mark.model
def test_roles_of_operands_and_results():
    model = nn.Bidirectional(nn.RNN(TorchLSTMCell(3)), nn.RNN(TorchLSTMCell(3)), return_carry=True)
    state = jnp.ones((2, 3)), jnp.zeros((2, 3))
    info = the_layer(model, X, seq_lengths=LENGTHS, initial_carry=(state, state))
    weights = ("bias_hh", "bias_ih", "weight_hh", "weight_ih")
    assert info.operands == (
        ("input", "0"),
        ("lengths",),
        *(("initial", d, s) for d in "01" for s in "ch"),
        *(("params", d, w) for d in "01" for w in weights),
    )
    assert info.results == (*(("carry", d, s) for d in "01" for s in "ch"), ("output", "0"))


@pytest.mark.model
def test_one_direction_may_start_from_a_carry_and_the_other_from_zero():
    model = nn.Bidirectional(nn.RNN(TorchLSTMCell(3)), nn.RNN(TorchLSTMCell(3)))
    state = jnp.ones((2, 3)), jnp.ones((2, 3))
    info = the_layer(model, X, initial_carry=(None, state))
    assert ("initial", "0", "h") in info.operands


TWO = {
    "another merge": nn.Bidirectional(nn.RNN(nn.LSTMCell(3)), nn.RNN(nn.LSTMCell(3)), merge_fn=lambda a, b: a + b),
    "two kinds": nn.Bidirectional(nn.RNN(nn.LSTMCell(3)), nn.RNN(nn.GRUCell(3))),
    "two sizes": nn.Bidirectional(nn.RNN(nn.LSTMCell(3)), nn.RNN(nn.LSTMCell(2))),
}


@pytest.mark.model
@pytest.mark.parametrize("name", TWO)
def test_directions_that_no_single_layer_covers_are_layers_of_their_own(name):
    staged = staged_and_float(TWO[name], X)
    assert [info.path for info in layers(staged)] == [("forward_rnn",), ("backward_rnn",)]
    assert [info.attributes["reverse"] for info in layers(staged)] == [False, True]
    assert "" in scopes(staged)


@pytest.mark.model
def test_one_module_for_both_directions_is_two_calls_of_one_layer():
    rnn = nn.RNN(nn.LSTMCell(3))
    staged = staged_and_float(nn.Bidirectional(rnn, rnn), X)
    assert len(layers(staged)) == 2


FLOAT = {
    "unknown cell": (nn.RNN(nn.SimpleCell(3)), "recurrent layer over SimpleCell"),
    "gate function": (nn.RNN(nn.LSTMCell(3, gate_fn=nn.hard_sigmoid)), "recurrent layer with a gate_fn of its own"),
    "activation": (nn.RNN(nn.GRUCell(3, activation_fn=nn.relu)), "recurrent layer with a activation_fn of its own"),
    "dtype": (
        nn.RNN(nn.GRUCell(3, param_dtype=jnp.float16, recurrent_kernel_init=nn.initializers.ones)),
        "recurrent layer with param_dtype float16",
    ),
    "carry": (
        nn.RNN(nn.GRUCell(3, carry_init=nn.initializers.ones)),
        "recurrent layer whose cell starts from a carry of its own (pass initial_carry instead)",
    ),
    "scan options": (
        nn.RNN(nn.GRUCell(3), variable_axes={"cache": 0}),
        "recurrent layer with variable_axes",
    ),
}


def composites(staged):
    return {e.params["composite"] for e in equations(staged.jaxpr) if e.primitive.name == "linger_scope"} - {None}


@pytest.mark.parametrize(("model", "reason"), FLOAT.values(), ids=FLOAT.keys())
def test_layer_outside_the_chip_s_means_is_a_float_composite_that_says_why(model, reason):
    x = np.asarray(X).astype(getattr(model.cell, "param_dtype", X.dtype))
    staged, _ = staged_call(model, drawn(model, x), x)
    assert reason in composites(staged)
    assert not {info.kind.name for info in layers(staged)} & {"lstm", "gru"}


@pytest.mark.model
def test_carry_init_does_not_matter_where_a_carry_is_given():
    model = nn.RNN(nn.GRUCell(3, carry_init=nn.initializers.ones))
    assert the_layer(model, X, initial_carry=jnp.zeros((2, 3))).kind.name == "gru"


@pytest.mark.model
def test_bare_cell_is_a_float_composite():
    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x):
            cell = nn.GRUCell(3)
            carry = jnp.zeros((2, 3))
            for t in range(2):
                carry, _ = cell(carry, x[:, t])
            return carry

    staged = staged_and_float(Loop(), X)
    assert composites(staged) == {"recurrent cell outside nn.RNN"}

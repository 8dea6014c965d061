"""TorchLSTMCell and TorchGRUCell: PyTorch's parameters, PyTorch's numbers, in every form of call that nn.RNN has."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from tests.models import random_array

IN, HIDDEN, BATCH, TIME = 3, 4, 3, 6
LENGTHS = (6, 2, 4)
KINDS = {"lstm": (TorchLSTMCell, torch.nn.LSTM), "gru": (TorchGRUCell, torch.nn.GRU)}
KIND = pytest.mark.parametrize("kind", KINDS)


def twins(kind, *, bidirectional=False, bias=True, time_major=False):
    """A PyTorch layer, and the same layer in Flax with its variables."""
    cell, layer = KINDS[kind]
    torch.manual_seed(0)
    theirs = layer(IN, HIDDEN, bidirectional=bidirectional, bias=bias, batch_first=not time_major)
    weights = {name: jnp.asarray(value.detach().numpy()) for name, value in theirs.named_parameters()}

    def params(suffix):
        names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if bias else ()))
        return {"cell": {name: weights[f"{name}_l0{suffix}"].T for name in names}}

    def rnn(**options):
        return nn.RNN(cell(HIDDEN, use_bias=bias), time_major=time_major, **options)

    if not bidirectional:
        return theirs, rnn, {"params": params("")}
    ours = nn.Bidirectional(rnn(), rnn(), time_major=time_major, return_carry=True)
    return theirs, ours, {"params": {"forward_rnn": params(""), "backward_rnn": params("_reverse")}}


def carry_of(state):
    """PyTorch's final (or initial) state of one direction as a Flax carry: (h, c) becomes (c, h)."""
    arrays = [jnp.asarray(s.detach().numpy()) for s in state]
    return tuple(reversed(arrays)) if len(arrays) > 1 else arrays[0]


def assert_same(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=0), ours, theirs)


@KIND
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("time_major", [True, False], ids=["time major", "batch major"])
def test_layer_equals_torch(kind, bias, time_major):
    theirs, rnn, variables = twins(kind, bias=bias, time_major=time_major)
    x = random_array(0, *((TIME, BATCH) if time_major else (BATCH, TIME)), IN)
    y, state = theirs(torch.from_numpy(np.array(x)))
    carry, ours = rnn(return_carry=True).apply(variables, x)
    assert_same(ours, y.detach().numpy())
    assert_same(carry, carry_of([s[0] for s in (state if kind == "lstm" else (state,))]))


@KIND
def test_initial_state_equals_torch(kind):
    theirs, rnn, variables = twins(kind)
    x = random_array(0, BATCH, TIME, IN)
    start = [torch.from_numpy(np.array(random_array(i, BATCH, HIDDEN))) for i in range(2 if kind == "lstm" else 1)]
    given = [s[None] for s in start]
    y, _ = theirs(torch.from_numpy(np.array(x)), tuple(given) if kind == "lstm" else given[0])
    assert_same(rnn().apply(variables, x, initial_carry=carry_of(start)), y.detach().numpy())


@KIND
def test_reversed_layer_equals_torch_on_reversed_time(kind):
    theirs, rnn, variables = twins(kind)
    x = random_array(0, BATCH, TIME, IN)
    y = theirs(torch.from_numpy(np.array(x[:, ::-1])))[0].detach().numpy()
    assert_same(rnn(reverse=True).apply(variables, x), y)
    assert_same(rnn(reverse=True, keep_order=True).apply(variables, x), y[:, ::-1])


@KIND
def test_two_directions_with_lengths_equal_torch_on_a_packed_sequence(kind):
    theirs, ours, variables = twins(kind, bidirectional=True)
    x = random_array(0, BATCH, TIME, IN)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(np.array(x)), LENGTHS, batch_first=True, enforce_sorted=False
    )
    y, state = theirs(packed)
    y = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0].detach().numpy()
    carries, result = ours.apply(variables, x, seq_lengths=jnp.asarray(LENGTHS))
    within = np.arange(TIME)[None, :, None] < np.array(LENGTHS)[:, None, None]
    assert_same(np.where(within, result, 0), y)
    states = state if kind == "lstm" else (state,)
    assert_same(carries, tuple(carry_of([s[d] for s in states]) for d in range(2)))


@KIND
def test_fresh_parameters_are_drawn_as_torch_draws_them(kind):
    cell, layer = KINDS[kind]
    params = nn.RNN(cell(64)).init(jax.random.key(0), random_array(0, 1, 2, 8))["params"]["cell"]
    theirs = dict(layer(8, 64).named_parameters())
    for name, value in params.items():
        assert value.T.shape == tuple(theirs[f"{name}_l0"].shape)
        assert 0.9 / 8 < jnp.max(jnp.abs(value)) <= 1 / 8

"""LSTM and GRU of PyTorch, every layer and direction, in Flax's own cells and in those that keep PyTorch's matrices."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import linger_jax
from linger_jax import converters
from linger_jax.errors import ConversionError
from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from tests.converters.twins import assert_twins, channels_last, example, largest_difference, randomized

X = example(2, 5, 6)
KEY = jax.random.key(0)
CELLS = {
    "lstm": (torch.nn.LSTM, TorchLSTMCell),
    "gru": (torch.nn.GRU, TorchGRUCell),
    "optimized lstm": (torch.nn.LSTM, nn.OptimizedLSTMCell),
    "flax lstm": (torch.nn.LSTM, nn.LSTMCell),
    "flax gru": (torch.nn.GRU, nn.GRUCell),
}


class TorchNet(torch.nn.Module):
    def __init__(self, kind: Any, **options: Any) -> None:
        super().__init__()
        self.rnn = kind(6, 4, batch_first=True, **options)
        self.fc = torch.nn.Linear(4 * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, x: Any) -> Any:
        return self.fc(self.rnn(x)[0])


class Net(nn.Module):
    cell: Any
    layers: int = 1
    bidirectional: bool = False

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for i in range(self.layers):
            name = "rnn" if self.layers == 1 else f"rnn_{i}"
            if self.bidirectional:
                x = nn.Bidirectional(nn.RNN(self.cell(4)), nn.RNN(self.cell(4)), name=name)(x)
            else:
                x = nn.RNN(self.cell(4), name=name)(x)
        return nn.Dense(3, name="fc")(x)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, False), (1, True), (2, True)])
def test_matrices_go_over_unchanged_and_come_back(cell: str, layers: int, bidirectional: bool) -> None:
    kind, flax_cell = CELLS[cell]
    module = TorchNet(kind, num_layers=layers, bidirectional=bidirectional)
    report = assert_twins(module, Net(flax_cell, layers, bidirectional), X, flax_x=X)
    assert {row.how for row in report.rows} == {"name"}


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["optimized lstm", "flax lstm", "flax gru"])
def test_cells_of_flax_take_gates_and_the_sum_of_two_biases(cell: str, bidirectional: bool) -> None:
    kind, flax_cell = CELLS[cell]
    module = randomized(TorchNet(kind, bidirectional=bidirectional))
    model = Net(flax_cell, 1, bidirectional)
    variables, report = converters.from_torch(module.state_dict(), model, X)
    assert largest_difference(module, model, variables, X, X) <= 1e-5
    assert any("added" in row.transform for row in report.rows)
    # The way back keeps the function: one bias holds the sum, the other nothing.
    state = converters.to_torch(model, variables, X, mapping=report)
    module.load_state_dict(state, strict=True)
    assert largest_difference(module, model, variables, X, X) <= 1e-5
    again, _ = converters.from_torch(state, model, X)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(again), leaves(variables), strict=True))


def leaves(tree: Any) -> list[Any]:
    return [tree] if not isinstance(tree, dict) else [leaf for key in sorted(tree) for leaf in leaves(tree[key])]


def test_layers_under_other_names_are_found_by_order() -> None:
    class Renamed(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            for _ in range(2):
                x = nn.RNN(TorchLSTMCell(4))(x)
            return nn.Dense(3)(x)

    report = assert_twins(TorchNet(torch.nn.LSTM, num_layers=2), Renamed(), X, flax_x=X)
    assert {row.how for row in report.rows} == {"order"}


@pytest.mark.parametrize("cell", ["lstm", "optimized lstm"])
def test_the_mapping_of_a_report_gives_the_same_import(cell: str) -> None:
    module, model = randomized(TorchNet(torch.nn.LSTM, num_layers=2)), Net(CELLS[cell][1], 2)
    variables, report = converters.from_torch(module.state_dict(), model, X)
    again, second = converters.from_torch(module.state_dict(), model, X, mapping=report.mapping)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(again), leaves(variables), strict=True))
    assert {row.how for row in second.rows} == {"mapping"}


def test_a_model_made_in_flax_loads_into_its_twin() -> None:
    module, model = TorchNet(torch.nn.GRU, bidirectional=True), Net(TorchGRUCell, 1, True)
    variables, _ = converters.from_torch(randomized(module, 5).state_dict(), model, X)
    module.load_state_dict(converters.to_torch(model, variables, X), strict=True)
    assert largest_difference(module, model, variables, X, X) <= 1e-5


def test_features_behind_a_flattened_image_are_permuted() -> None:
    class TorchSpotter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 3, 3, padding=1)
            self.rnn = torch.nn.GRU(12, 4, batch_first=True)

        def forward(self, x: Any) -> Any:
            x = self.conv(x)  # [N, C, T, F]
            return self.rnn(x.permute(0, 2, 1, 3).flatten(2))[0]

    class Spotter(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Conv(3, (3, 3), padding=1, name="conv")(x)  # [N, T, F, C]
            return nn.RNN(TorchGRUCell(4), name="rnn")(x.reshape(*x.shape[:2], -1))

    x = example(2, 1, 5, 4)
    torch_module, model = randomized(TorchSpotter()), Spotter()
    order = {"rnn": [int(c * 4 + f) for f in range(4) for c in range(3)]}
    variables, report = converters.from_torch(torch_module.state_dict(), model, channels_last(x), flatten_order=order)
    with torch.no_grad():
        want = torch_module(torch.from_numpy(x)).numpy()
    got = np.asarray(model.apply(variables, channels_last(x)))
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert any("rows from (C, H, W) order" in row.transform for row in report.rows)


def test_another_hidden_size_is_a_conflict() -> None:
    state = TorchNet(torch.nn.LSTM).state_dict()
    state["rnn.weight_hh_l0"] = torch.zeros(20, 5)
    state["rnn.weight_ih_l0"] = torch.zeros(20, 6)
    with pytest.raises(
        ConversionError, match=r"rnn\.weight_ih_l0 \[20, 6\] does not fit params\.TorchLSTMCell_0\.weight_ih"
    ):
        converters.from_torch(state, Net(TorchLSTMCell), X)


class Directions(nn.Module):
    """Both directions as layers of their own; ``turned`` runs the backward one first."""

    cell: Any
    names: tuple[str | None, ...] = (None,) * 4
    layers: int = 1
    turned: bool = False

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for i in range(self.layers):
            rnns = {
                back: nn.RNN(self.cell(4), reverse=back, keep_order=True, name=self.names[2 * i + back])
                for back in (False, True)
            }
            results = {back: rnns[back](x) for back in ((True, False) if self.turned else (False, True))}
            x = jnp.concatenate([results[False], results[True]], -1)
        return nn.Dense(3)(x)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_directions_that_are_layers_of_their_own_are_found_by_order(cell: str, turned: bool) -> None:
    kind, flax_cell = CELLS[cell]
    report = assert_twins(TorchNet(kind, bidirectional=True), Directions(flax_cell, turned=turned), X, flax_x=X)
    assert {row.how for row in report.rows} == {"order"}


def test_directions_of_several_layers_are_found_by_name() -> None:
    names = ("rnn_0", "rnn_0_reverse", "rnn_1", "rnn_1_reverse")
    module = TorchNet(torch.nn.GRU, bidirectional=True, num_layers=2)
    report = assert_twins(module, Directions(TorchGRUCell, names, layers=2), X, flax_x=X)
    assert {row.how for row in report.rows if row.key.startswith("rnn")} == {"name"}


def test_gates_of_directions_that_are_layers_of_their_own() -> None:
    module, model = randomized(TorchNet(torch.nn.LSTM, bidirectional=True)), Directions(nn.OptimizedLSTMCell)
    variables, report = converters.from_torch(module.state_dict(), model, X)
    assert largest_difference(module, model, variables, X, X) <= 1e-5
    again, _ = converters.from_torch(module.state_dict(), model, X, mapping=report.mapping)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(again), leaves(variables), strict=True))
    module.load_state_dict(converters.to_torch(model, variables, X, mapping=report))
    assert largest_difference(module, model, variables, X, X) <= 1e-5


@pytest.fixture
def quantized_directions() -> tuple[Any, Any]:
    """A quantized model of two layers, and the linger state of the layer of two directions that it should be."""
    model = Directions(TorchLSTMCell, ("rnn", "rnn_reverse"))
    both = linger_jax.init(Both(), {"compat": "reference"})
    return linger_jax.init(model, {"compat": "reference"}), converters.to_torch(both, both.init(KEY, X), X)


class Both(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        directions = (nn.RNN(TorchLSTMCell(4, parent=None), parent=None) for _ in range(2))
        return nn.Dense(3)(nn.Bidirectional(*directions, name="rnn")(x))


def test_quantizers_that_two_directions_share_do_not_go_into_two_layers(quantized_directions: Any) -> None:
    qmodel, state = quantized_directions
    with pytest.raises(ConversionError, match=r"rnn is a bidirectional layer.*write it as nn\.Bidirectional"):
        converters.load_linger_checkpoint(state, qmodel, None, X)


def test_quantizers_of_two_layers_are_not_written_over_each_other(quantized_directions: Any) -> None:
    qmodel, _ = quantized_directions
    floats, report = converters.from_torch(TorchNet(torch.nn.LSTM, bidirectional=True).state_dict(), qmodel.model, X)
    variables = qmodel.adopt(floats, X)
    with pytest.raises(ConversionError, match=r"rnn\.\S+_quantizer\.\S+ is the key of another place"):
        converters.to_torch(qmodel, variables, X, mapping=report)

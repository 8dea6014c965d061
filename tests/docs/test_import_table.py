"""The table of layers in the page about PyTorch: every row is imported, computes the same and comes back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import linger_jax.nn
from linger_jax import converters
from linger_jax.nn import TorchGRUCell
from tests.converters.twins import assert_twins, example, randomized

PAGE = Path(__file__).parents[2] / "docs" / "importing_from_pytorch.md"
# Rows that are no layer of torch.nn, and the tests that import them.
ELSEWHERE = {
    "linger's ConvBN (`conv.`, `bn.`)": "test_a_fused_model_takes_a_checkpoint_from_before_the_fusion",
    "linger's `SparifyFFN`": "test_blocks_without_a_twin_in_pytorch_come_and_go_with_all_their_state",
    "tied weights": "test_random_trees_of_sequence_layers_compute_the_same_and_come_back",
    "`nn.Parameter` of a module": "test_variables_of_the_model_itself_are_matched_by_name_and_shape",
    "several layers, `bidirectional=True`": "test_matrices_go_over_unchanged_and_come_back",
    "`bidirectional=True`": "test_directions_of_several_layers_are_found_by_name",
    "`weight_norm` (old and parametrised)": "test_a_normalised_weight_is_multiplied_out_and_comes_back",
}
IMAGE, FEATURES, SEQUENCE = (2, 4, 6, 5), (2, 4), (2, 5, 4)
PAIRS: dict[str, tuple[torch.nn.Module, nn.Module, tuple[int, ...]]] = {
    "Linear": (torch.nn.Linear(4, 3), nn.Dense(3), FEATURES),
    "Conv1d": (torch.nn.Conv1d(4, 3, 3), nn.Conv(3, (3,), padding="VALID"), (2, 4, 6)),
    "Conv2d": (torch.nn.Conv2d(4, 3, 3), nn.Conv(3, (3, 3), padding="VALID"), IMAGE),
    "ConvTranspose1d": (
        torch.nn.ConvTranspose1d(4, 3, 3),
        nn.ConvTranspose(3, (3,), padding="VALID"),
        (2, 4, 6),
    ),
    "ConvTranspose2d": (
        torch.nn.ConvTranspose2d(4, 6, 3, 2, output_padding=1, groups=2),
        linger_jax.nn.ConvTranspose(6, (3, 3), (2, 2), padding=0, output_padding=(1, 1), feature_group_count=2),
        IMAGE,
    ),
    "BatchNorm1d": (torch.nn.BatchNorm1d(4), nn.BatchNorm(use_running_average=True), FEATURES),
    "BatchNorm2d": (torch.nn.BatchNorm2d(4), nn.BatchNorm(use_running_average=True), IMAGE),
    "LayerNorm": (torch.nn.LayerNorm(4), nn.LayerNorm(epsilon=1e-5), FEATURES),
    "GroupNorm": (torch.nn.GroupNorm(2, 4), nn.GroupNorm(2, epsilon=1e-5), IMAGE),
    "InstanceNorm": (torch.nn.InstanceNorm2d(4, affine=True), nn.InstanceNorm(epsilon=1e-5), IMAGE),
}


class First(torch.nn.Module):
    """A module that returns more than its result, called on a sequence."""

    def __init__(self, inner: torch.nn.Module, times: int = 1) -> None:
        super().__init__()
        self.inner, self.times = inner, times

    def forward(self, x: Any) -> Any:
        return self.inner(*[x] * self.times)[0]


class Inner(nn.Module):
    layer: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return self.layer(x)


def rows() -> list[tuple[str, ...]]:
    text = PAGE.read_text(encoding="utf-8").partition("## What becomes of each layer")[2].partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in table[1:]]


def test_the_table_has_every_kind_of_layer() -> None:
    written = {name for row in rows() for name in re.findall(r"`(\w+)`", row[0])}
    assert PAIRS.keys() | {"Embedding", "LSTM", "GRU", "MultiheadAttention", "SparifyFFN"} <= written


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_is_imported_computes_the_same_and_comes_back(row: tuple[str, ...]) -> None:
    for name in re.findall(r"`(?:nn\.|linger_jax\.nn\.)?([A-Z]\w+)`", row[1]):
        assert hasattr(nn, name) or hasattr(linger_jax.nn, name), f"there is no {name}"
    if row[0] in ELSEWHERE:
        tests = "".join(path.read_text() for path in (PAGE.parents[1] / "tests" / "converters").rglob("test_*.py"))
        assert f"def {ELSEWHERE[row[0]]}(" in tests
        return
    for name in re.findall(r"`(\w+)`", row[0]):
        if name in PAIRS:
            module, layer, shape = PAIRS[name]
            assert_twins(torch.nn.Sequential(module), Inner(layer), example(*shape))
        elif name == "MultiheadAttention":
            attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)
            model = Inner(nn.MultiHeadDotProductAttention(2))
            assert_twins(First(attention, 3), model, example(*SEQUENCE), flax_x=example(*SEQUENCE))
        elif name in ("LSTM", "GRU"):
            own = {"LSTM": linger_jax.nn.TorchLSTMCell, "GRU": TorchGRUCell}[name]
            flax_cell = {"LSTM": nn.OptimizedLSTMCell, "GRU": nn.GRUCell}[name]
            cell = own if "Torch" in row[1] else flax_cell
            module = randomized(First(getattr(torch.nn, name)(4, 3, batch_first=True)))
            x = example(*SEQUENCE)
            variables, _ = converters.from_torch(module.state_dict(), Inner(nn.RNN(cell(3))), x)
            got = Inner(nn.RNN(cell(3))).apply(variables, x)
            np.testing.assert_allclose(got, module(torch.from_numpy(x)).detach().numpy(), rtol=0, atol=1e-5)
        elif name == "Embedding":
            table = torch.nn.Embedding(5, 3)
            variables, _ = converters.from_torch(table.state_dict(), nn.Embed(5, 3), jnp.array([[1, 2]], jnp.int32))
            np.testing.assert_array_equal(variables["params"]["embedding"], table.weight.detach().numpy())
        else:
            raise AssertionError(f"no example of {name}")

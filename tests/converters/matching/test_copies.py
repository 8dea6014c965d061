"""Tied weights: one tensor under two names, or copies of it, for one variable of the model or for two."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import numpy as np
import pytest
import torch

from linger_jax import converters
from linger_jax.errors import ConversionError
from tests.converters.twins import largest_difference, randomized

IDS = np.array([[1, 2, 3, 0]], np.int32)


class TorchNet(torch.nn.Module):
    """Reads the table again for its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(9, 4)
        self.mid = torch.nn.Linear(4, 4)
        self.logits = torch.nn.Linear(4, 9, bias=False)
        self.logits.weight = self.table.weight

    def forward(self, ids: Any) -> Any:
        return self.logits(self.mid(self.table(ids.long())))


class OneTable(nn.Module):
    @nn.compact
    def __call__(self, ids: Any) -> Any:
        table = nn.Embed(9, 4, name="table")
        return table.attend(nn.Dense(4, name="mid")(table(ids)))


class TwoTables(nn.Module):
    @nn.compact
    def __call__(self, ids: Any) -> Any:
        x = nn.Dense(4, name="mid")(nn.Embed(9, 4, name="table")(ids))
        return nn.Dense(9, use_bias=False, name="logits")(x)


def state(*, copied: bool) -> tuple[torch.nn.Module, dict[str, Any]]:
    module = randomized(TorchNet())
    return module, {key: value.clone() if copied else value for key, value in module.state_dict().items()}


@pytest.mark.parametrize("model", [OneTable(), TwoTables()], ids=["one table", "two tables"])
@pytest.mark.parametrize("copied", [False, True])
def test_tied_weights_come_back_under_both_names(model: nn.Module, copied: bool) -> None:
    module, given = state(copied=copied)
    variables, report = converters.from_torch(given, model, IDS)
    assert largest_difference(module, model, variables, IDS, IDS) <= 1e-5
    assert report.tied == ({"logits.weight": "table.weight"} if isinstance(model, OneTable) else {})
    written = converters.to_torch(model, variables, IDS, mapping=report)
    assert written.keys() == given.keys()
    assert all(torch.equal(written[key], value) for key, value in given.items())


def test_copies_are_seen_in_arrays_and_in_a_dry_run() -> None:
    _, given = state(copied=True)
    arrays = {key: value.numpy() for key, value in given.items()}
    for source, options in ((arrays, {}), (given, {"dry_run": True})):
        assert converters.from_torch(source, OneTable(), IDS, **options)[1].tied == {"logits.weight": "table.weight"}


def test_a_second_table_that_differs_is_not_dropped() -> None:
    _, given = state(copied=True)
    given["logits.weight"][3, 1] += 1e-3
    with pytest.raises(ConversionError, match=r"unexpected in the checkpoint:\s+logits\.weight \[9, 4\]"):
        converters.from_torch(given, OneTable(), IDS)


@pytest.mark.parametrize("spare", ["mid.weight", "mid.bias"])
def test_equal_constants_and_vectors_are_no_copies(spare: str) -> None:
    """Two tensors of zeros, or two biases, may be equal by chance: both must have a place."""
    _, given = state(copied=True)
    given["mid.weight"].zero_()
    given["spare"] = given[spare].clone()
    with pytest.raises(ConversionError, match=r"unexpected in the checkpoint:\s+spare"):
        converters.from_torch(given, OneTable(), IDS)

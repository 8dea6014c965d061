"""Which tensor goes where: names, order along the data flow, the user's mapping, and what is ambiguous."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch

from linger_jax import converters
from linger_jax.errors import ConversionError
from tests.converters.matching.matched_models import IN_ORDER, TorchResNet, conv
from tests.converters.twins import assert_twins, example, randomized


class FlaxResNet(nn.Module):
    """The same, with Flax's own names; the shortcut runs first or last."""

    shortcut_first: bool
    kind: str = "basic"

    @nn.compact
    def __call__(self, x: Any) -> Any:
        def norm(x: Any) -> Any:
            return nn.BatchNorm(use_running_average=True)(x)

        def layer(x: Any, features: int, size: int) -> Any:
            return nn.Conv(features, (size, size), padding=size // 2, use_bias=False)(x)

        x = nn.relu(norm(layer(x, 4, 3)))
        skip = norm(layer(x, 8, 1)) if self.shortcut_first else None
        if self.kind == "bottleneck":
            y = norm(layer(nn.relu(norm(layer(x, 4, 1))), 8, 1))
        else:
            y = norm(layer(nn.relu(norm(layer(x, 8, 3))), 8, 3))
        skip = norm(layer(x, 8, 1)) if skip is None else skip
        return nn.Dense(3)(nn.relu(y + skip).mean((1, 2)))


SHORTCUT_FIRST = ("down", "conv1", "bn1", "conv2", "bn2")


CONVS_THEN_NORMS = ("conv1", "conv2", "bn1", "bn2", "down")


IMAGE = (2, 3, 6, 5)


@pytest.mark.parametrize("parts", [IN_ORDER, SHORTCUT_FIRST])
@pytest.mark.parametrize("shortcut_first", [False, True])
@pytest.mark.parametrize("head_first", [False, True])
def test_residual_networks_in_either_order_of_registration(
    parts: Sequence[str], shortcut_first: bool, head_first: bool
) -> None:
    report = assert_twins(TorchResNet(parts, head_first=head_first), FlaxResNet(shortcut_first), example(*IMAGE))
    assert {row.how for row in report.rows} == {"order"}


def test_norms_registered_apart_from_their_convolutions_are_not_guessed() -> None:
    with pytest.raises(ConversionError, match="ambiguous: these fit together in more than one way") as caught:
        assert_twins(TorchResNet(CONVS_THEN_NORMS), FlaxResNet(True), example(*IMAGE))
    lines = [line.split() for line in str(caught.value).splitlines()]
    assert ["layer1.conv1", "product", "[8,", "4,", "3,", "3]", "Conv_1", "product", "[8,", "4]"] in lines


def test_two_convolutions_that_fit_both_places_are_shown_side_by_side() -> None:
    with pytest.raises(ConversionError, match="ambiguous") as caught:
        assert_twins(TorchResNet(IN_ORDER, "bottleneck"), FlaxResNet(True, "bottleneck"), example(*IMAGE))
    text = str(caught.value)
    assert "PyTorch, in file order" in text
    assert "layer1.down.0" in text
    assert "missing" not in text
    assert "unexpected" not in text


def test_a_mapping_settles_what_is_ambiguous() -> None:
    mapping = {"layer1.down.0": "Conv_1", "layer1.down.1": "BatchNorm_1"}
    report = assert_twins(
        TorchResNet(IN_ORDER, "bottleneck"), FlaxResNet(True, "bottleneck"), example(*IMAGE), mapping=mapping
    )
    assert {row.key for row in report.rows if row.how == "mapping"} == {
        "layer1.down.0.weight",
        *(f"layer1.down.1.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")),
    }


def test_the_report_of_one_import_is_the_mapping_of_the_next() -> None:
    module = randomized(TorchResNet(SHORTCUT_FIRST))
    first, report = converters.from_torch(module, FlaxResNet(False), example(2, 6, 5, 3))
    again, second = converters.from_torch(
        module, FlaxResNet(False), example(2, 6, 5, 3), mapping=report.mapping, match="name"
    )
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    assert {row.how for row in second.rows} == {"mapping"}


def test_pre_activation_blocks_match_in_order() -> None:
    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn1, self.conv1 = torch.nn.BatchNorm2d(3), conv(3, 3, 3)
            self.bn2, self.conv2 = torch.nn.BatchNorm2d(3), conv(3, 3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.conv2(self.bn2(self.conv1(self.bn1(x).relu())).relu())

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            y = x
            for _ in range(2):
                y = nn.relu(nn.BatchNorm(use_running_average=True)(y))
                y = nn.Conv(3, (3, 3), padding=1, use_bias=False)(y)
            return x + y

    assert_twins(Torch(), Flax(), example(*IMAGE))


def test_transformer_layer_whose_norms_are_registered_last() -> None:
    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear1, self.linear2 = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)
            self.norm1, self.norm2 = torch.nn.LayerNorm(4), torch.nn.LayerNorm(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm2(x + self.linear2(self.linear1(self.norm1(x)).relu()))

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            y = nn.Dense(8)(nn.LayerNorm(epsilon=1e-5)(x))
            return nn.LayerNorm(epsilon=1e-5)(x + nn.Dense(4)(nn.relu(y)))

    x = example(2, 5, 4)
    assert_twins(Torch(), Flax(), x, flax_x=x)

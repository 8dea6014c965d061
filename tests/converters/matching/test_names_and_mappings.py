"""Layers are matched by equal names, or as a mapping says."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import numpy as np
import pytest
import torch

from linger_jax import converters
from linger_jax.errors import ConversionError
from tests.converters.twins import assert_twins, example, randomized

# --- names ---


class Named(nn.Module):
    """Names as they come over from PyTorch, called in another order than they are registered there."""

    def setup(self) -> None:
        self.Second = nn.Dense(4)
        self.first_layer = nn.Dense(4)
        self.tail = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(4)])

    def __call__(self, x: Any) -> Any:
        return self.tail(self.Second(self.first_layer(x)))


class TorchNamed(torch.nn.Module):
    """The same."""

    def __init__(self) -> None:
        super().__init__()
        self.tail = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4))
        self.second = torch.nn.Linear(4, 4)
        self.firstLayer = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tail(self.second(self.firstLayer(x)))


@pytest.mark.parametrize("match", ["auto", "name"])
def test_equal_names_match_whatever_the_order(match: str) -> None:
    report = assert_twins(TorchNamed(), Named(), example(2, 4), match=match)
    assert report.mapping["tail.2.weight"] == "params.tail.layers_2.kernel"
    assert {row.how for row in report.rows} == {"name"}


def test_order_can_be_asked_for_in_spite_of_names() -> None:
    module = randomized(TorchNamed())
    _, report = converters.from_torch(module, Named(), example(2, 4), match="order")
    assert report.mapping["tail.0.weight"] == "params.first_layer.kernel"


def test_names_that_flax_made_up_never_match_by_name() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(4)(nn.Dense(4)(x))

    state = {f"dense.{i}.{leaf}": np.ones((4, 4)[: 2 - j], np.float32) for i in (0, 1) for j, leaf in enumerate("wb")}
    state = {key.replace(".w", ".weight").replace(".b", ".bias"): value for key, value in state.items()}
    with pytest.raises(ConversionError, match=r"missing in the checkpoint:\n    params\.Dense_0\.bias \[4\]"):
        converters.from_torch(state, Flax(), example(2, 4), match="name")


def test_names_that_match_and_order_for_the_rest() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Dense(4)(nn.Dense(4, name="second")(x))
            return nn.Dense(4, name="tail_2")(nn.relu(nn.Dense(4)(x)))

    _, report = converters.from_torch(randomized(TorchNamed()), Flax(), example(2, 4))
    assert [(row.path, row.how) for row in report.rows if row.key.endswith("weight")] == [
        ("params.Dense_0.kernel", "order"),
        ("params.tail_2.kernel", "name"),
        ("params.second.kernel", "name"),
        ("params.Dense_1.kernel", "order"),
    ]


# --- mapping ---


class Towers(nn.Module):
    """Two equal towers."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        class Tower(nn.Module):
            @nn.compact
            def __call__(self, x: Any) -> Any:
                x = nn.relu(nn.Dense(4)(x))
                return nn.Dense(4)(x)

        return Tower(name="left")(x) - Tower(name="right")(x)


class TorchTowers(torch.nn.Module):
    """The same under other names, registered the other way round."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("r", "l"):
            tower = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4))
            setattr(self, name, tower)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.l(x) - self.r(x)


def test_a_prefix_maps_everything_below_it() -> None:
    report = assert_twins(TorchTowers(), Towers(), example(2, 4), mapping={"l": "left", "r": "right"})
    assert report.mapping["l.2.weight"] == "params.left.Dense_1.kernel"


def test_keys_map_to_variables_and_to_layers() -> None:
    mapping = {
        "l.0.weight": "left.Dense_0.kernel",
        "l.0.bias": "params/left/Dense_0/bias",
        "l.2.weight": "left.Dense_1",
        "l.2.bias": "left/Dense_1",
        "r": "right",
    }
    assert_twins(TorchTowers(), Towers(), example(2, 4), mapping=mapping)


def test_a_prefix_maps_to_the_whole_model() -> None:
    wrapped = torch.nn.Sequential()
    wrapped.add_module("net", TorchNamed())
    assert_twins(wrapped, Named(), example(2, 4), mapping={"net": ""}, match="name")


def test_a_key_mapped_to_none_is_left_out() -> None:
    class WithHead(TorchNamed):
        def __init__(self) -> None:
            super().__init__()
            self.auxiliary = torch.nn.Linear(4, 9)

    report = assert_twins(WithHead(), Named(), example(2, 4), mapping={"auxiliary": None})
    assert report.dropped == tuple((f"auxiliary.{leaf}", "left out by mapping") for leaf in ("weight", "bias"))


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"lef": "left"}, "mapping: the checkpoint has no key or module 'lef'"),
        ({"l.0.weigth": "left"}, "no key or module 'l.0.weigth'; nearest: 'l.0.weight'"),
        ({"l": "lefd"}, "mapping: the model has no module 'lefd'; nearest: 'left'"),
        ({"l.0.weight": "left.Dense_0.kernl"}, "the model has no variable 'left.Dense_0.kernl'; nearest: "),
        ({"l.0.weight": "left"}, "mapping: l.0.weight cannot go into left: name the variable, as in left.kernel"),
    ],
)
def test_a_mapping_of_names_that_do_not_exist_is_refused(mapping: dict[str, str], text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        converters.from_torch(TorchTowers().state_dict(), Towers(), example(2, 4), mapping=mapping)
    assert text in str(caught.value)

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
from tests.converters.twins import assert_twins, example, randomized


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> torch.nn.Conv2d:
    return torch.nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class TorchBlock(torch.nn.Module):
    """A residual block; ``parts`` is the order in which its parts are registered."""

    def __init__(self, parts: Sequence[str], kind: str) -> None:
        super().__init__()
        bottleneck = kind == "bottleneck"
        made: dict[str, Any] = {
            "conv1": conv(4, 4 if bottleneck else 8, 1 if bottleneck else 3, 1),
            "bn1": torch.nn.BatchNorm2d(4 if bottleneck else 8),
            "conv2": conv(4, 8, 1) if bottleneck else conv(8, 8, 3),
            "bn2": torch.nn.BatchNorm2d(8),
            "down": torch.nn.Sequential(conv(4, 8, 1), torch.nn.BatchNorm2d(8)),
        }
        for part in parts:
            setattr(self, part, made[part])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.down(x)).relu()


class TorchResNet(torch.nn.Module):
    """Stem, block, classifier, which may be registered first."""

    def __init__(self, parts: Sequence[str], kind: str = "basic", head_first: bool = False) -> None:
        super().__init__()
        if head_first:
            self.fc = torch.nn.Linear(8, 3)
        self.stem = conv(3, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)
        self.layer1 = TorchBlock(parts, kind)
        if not head_first:
            self.fc = torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer1(self.bn(self.stem(x)).relu()).mean((2, 3)))


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


IN_ORDER = ("conv1", "bn1", "conv2", "bn2", "down")
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


# --- what is left over ---


class Small(nn.Module):
    """Two layers."""

    features: int = 3
    hidden_bias: bool = True

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.Dense(6, name="hidden", use_bias=self.hidden_bias)(x))
        return nn.Dense(self.features, name="head")(x)


def small_state(**layers: torch.nn.Module) -> dict[str, torch.Tensor]:
    made = {"hidden": torch.nn.Linear(4, 6), "head": torch.nn.Linear(6, 3), **layers}
    return torch.nn.ModuleDict(made).state_dict()


def error_of(state: Any, model: nn.Module, **options: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        converters.from_torch(state, model, example(2, 4), **options)
    return str(caught.value)


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    state = small_state(head=torch.nn.Linear(6, 5), extra=torch.nn.Linear(2, 2))
    del state["hidden.bias"]
    state["hiden.bias"] = torch.zeros(6)
    assert error_of(state, Small()).splitlines() == [
        "the given state_dict cannot be imported into Small:",
        "  shape conflicts:",
        "    head.weight [5, 6] does not fit params.head.kernel [6, 3], which takes [3, 6] from PyTorch",
        "    head.bias [5] does not fit params.head.bias [3], which takes [3] from PyTorch",
        "  missing in the checkpoint:",
        "    params.hidden.bias [6]; nearest key: hiden.bias",
        "  unexpected in the checkpoint:",
        "    extra.weight [2, 2]",
        "    extra.bias [2]",
        "    hiden.bias [6]; nearest variable: params.hidden.bias",
    ]


def test_a_bias_on_one_side_only() -> None:
    assert "unexpected in the checkpoint:\n    hidden.bias [6]" in error_of(small_state(), Small(hidden_bias=False))
    state = small_state(hidden=torch.nn.Linear(4, 6, bias=False))
    assert "missing in the checkpoint:\n    params.hidden.bias [6]" in error_of(state, Small())


def test_conflicts_are_found_by_order_too() -> None:
    state = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1000)).state_dict()
    assert error_of(state, Small()).splitlines()[1:] == [
        "  shape conflicts:",
        "    2.weight [1000, 6] does not fit params.head.kernel [6, 3], which takes [3, 6] from PyTorch",
        "    2.bias [1000] does not fit params.head.bias [3], which takes [3] from PyTorch",
    ]


def test_a_checkpoint_of_another_model() -> None:
    text = error_of(TorchResNet(IN_ORDER).state_dict(), Small())
    assert "missing in the checkpoint" in text
    assert "unexpected in the checkpoint" in text
    assert "stem.weight [4, 3, 3, 3]" in text
    assert "ambiguous" not in text


def test_modules_that_are_not_imported_yet_are_named() -> None:
    state = small_state(attention=torch.nn.MultiheadAttention(4, 2, add_bias_kv=True))
    text = error_of(state, Small())
    assert "attention.bias_k [1, 1, 4]: torch.nn.MultiheadAttention with add_bias_kv has no counterpart" in text


def test_recurrent_layers_of_the_model_are_named() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(3)(nn.RNN(nn.SimpleCell(4))(x))

    with pytest.raises(ConversionError, match=r"SimpleCell_0\.h\.kernel \[4, 4\]: a recurrent (layer|cell).* is not"):
        converters.from_torch({"weight": np.ones((3, 4), np.float32)}, Flax(), example(2, 5, 4))


def test_without_strict_the_rest_keeps_its_own_values() -> None:
    state = small_state(extra=torch.nn.Linear(2, 2))
    del state["head.bias"]
    own = Small().init(jax.random.key(3), example(2, 4))
    own["params"]["head"]["bias"] += 1
    variables, report = converters.from_torch(state, Small(), example(2, 4), strict=False, variables=own)
    np.testing.assert_array_equal(variables["params"]["head"]["bias"], np.ones(3))
    np.testing.assert_array_equal(variables["params"]["hidden"]["bias"], state["hidden.bias"])
    assert report.unexpected == ("extra.weight", "extra.bias")
    assert report.missing == ("params.head.bias",)


def test_without_strict_the_model_initialises_the_rest() -> None:
    state = {key: value for key, value in small_state().items() if key.startswith("hidden")}
    variables, report = converters.from_torch(state, Small(), example(2, 4), strict=False, rngs=jax.random.key(5))
    want = Small().init(jax.random.key(5), example(2, 4))["params"]["head"]["kernel"]
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], want)
    assert report.missing == ("params.head.bias", "params.head.kernel")


def test_without_strict_a_missing_layer_among_equal_ones_is_ambiguous() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            for _ in range(3):
                x = nn.Dense(4)(x)
            return x

    state = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)).state_dict()
    assert "ambiguous" in error_of(state, Flax(), strict=False)
    assert "missing in the checkpoint" in error_of(state, Flax())


def test_conflicts_are_errors_without_strict_too() -> None:
    assert "shape conflicts" in error_of(small_state(head=torch.nn.Linear(6, 5)), Small(), strict=False)


def test_arguments_that_mean_nothing_are_refused() -> None:
    assert "match must be 'auto', 'name' or 'order', not 'shape'" in error_of(small_state(), Small(), match="shape")
    with pytest.raises(ConversionError, match=r"expected a flax\.linen Module instance, got type"):
        converters.from_torch(small_state(), Small, example(2, 4))


def test_several_arguments_and_keywords_of_the_model() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, a: Any, b: Any, *, train: bool) -> Any:
            assert isinstance(train, bool)
            return nn.Dense(3)(a + b)

        def other(self, a: Any) -> Any:
            return a

    state = torch.nn.Linear(4, 3).state_dict()
    variables, _ = converters.from_torch(state, Flax(), (example(2, 4), example(2, 4)), train=True)
    np.testing.assert_array_equal(variables["params"]["Dense_0"]["bias"], state["bias"])
    shape = jax.ShapeDtypeStruct((2, 4), np.float32)
    again, _ = converters.from_torch(state, Flax(), (shape, shape), train=False)
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, again))

"""What fits nowhere is told at once, or left as it is without ``strict``."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch

from linger_jax import converters
from linger_jax.errors import ConversionError
from tests.converters.matching.matched_models import IN_ORDER, TorchResNet
from tests.converters.twins import example

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


def test_of_thousands_of_strange_keys_the_first_are_told_with_their_nearest_names() -> None:
    state = {f"layer{i}.weight": np.ones((2, 2), np.float32) for i in range(5000)}
    with pytest.raises(ConversionError) as caught:
        converters.from_torch(state, nn.Dense(2), np.zeros((1, 2), np.float32))
    text = str(caught.value)
    assert "layer40.weight [2, 2]" in text
    assert "... and 4959 more" in text
    assert "layer41.weight" not in text

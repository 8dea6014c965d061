"""State dicts written from Flax variables: names, shapes and bits that PyTorch loads strictly."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict

import linger_jax
from linger_jax import converters
from linger_jax.errors import ConversionError, FileError, LingerWarning, StateError
from tests.converters.twins import channels_last, example, largest_difference
from tests.models import drawn, initialised

X = example(2, 3, 6, 6)


@pytest.fixture(autouse=True)
def _flax_divides_by_integers() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):  # in its average pooling
        yield


class TorchNet(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4))
        self.head = torch.nn.Linear(4 * 3 * 3, 5)

    def forward(self, x: Any) -> Any:
        x = torch.nn.functional.max_pool2d(torch.relu(self.stem(x)), 2)
        return self.head(x.flatten(1))


class Net(nn.Module):
    """The same, under PyTorch's names, as somebody would train it in Flax."""

    def setup(self) -> None:
        self.stem = nn.Sequential([nn.Conv(4, (3, 3), padding=1), nn.BatchNorm(use_running_average=True)])
        self.head = nn.Dense(5)

    def __call__(self, x: Any) -> Any:
        x = nn.max_pool(nn.relu(self.stem(x)), (2, 2), (2, 2))
        return self.head(x.reshape(len(x), -1))


def trained(model: nn.Module, x: Any) -> Any:
    """Variables that no framework would initialise."""
    variables = drawn(model, x)
    keys = iter(range(100))
    return jax.tree.map(lambda leaf: jax.random.uniform(jax.random.key(next(keys)), leaf.shape) + 0.1, variables)


def test_a_model_made_in_flax_loads_strictly_into_its_twin_and_computes_the_same() -> None:
    variables = trained(Net(), channels_last(X))
    module = TorchNet().eval()
    module.load_state_dict(converters.to_torch(Net(), variables, channels_last(X)), strict=True)
    assert largest_difference(module, Net(), variables, X) <= 1e-5


def test_other_names_come_from_a_mapping() -> None:
    names = {"net.features": "stem", "net.classifier.weight": "head.kernel", "net.classifier.bias": "params.head.bias"}
    state = converters.to_torch(Net(), trained(Net(), channels_last(X)), channels_last(X), mapping=names)
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    wanted = {f"net.features.1.{leaf}" for leaf in leaves} | {"net.features.0.weight", "net.features.0.bias"}
    assert set(state) == wanted | {"net.classifier.weight", "net.classifier.bias"}


def test_a_half_precision_linear_that_was_a_convolution_goes_back_to_its_shape() -> None:
    module = torch.nn.Conv2d(3, 2, 1)
    model = nn.Dense(2)
    variables, report = converters.from_torch(module.state_dict(), model, channels_last(X))
    state = converters.to_torch(model, variables, channels_last(X), mapping=report)
    assert torch.equal(state["weight"], module.weight.detach())
    assert converters.to_torch(model, variables, channels_last(X))["weight"].shape == (2, 3)


def test_a_scanned_stack_is_a_list_of_modules() -> None:
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x: Any, _: Any) -> Any:
            return nn.Dense(4, name="fc")(x), None

    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            scan = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
            return scan(name="blocks")(x, None)[0]

    x = example(2, 4)
    variables = trained(Stack(), x)
    state = converters.to_torch(Stack(), variables, x)
    assert set(state) == {f"blocks.{i}.fc.{leaf}" for i in range(3) for leaf in ("weight", "bias")}
    kernel = np.asarray(variables["params"]["blocks"]["fc"]["kernel"])
    np.testing.assert_array_equal(state["blocks.2.fc.weight"].numpy(), kernel[2].T)
    again, _ = converters.from_torch(state, Stack(), x)
    np.testing.assert_array_equal(again["params"]["blocks"]["fc"]["kernel"], kernel)


def test_free_parameters_keep_their_layout() -> None:
    class Free(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = x + self.param("position", nn.initializers.normal(), (1, 4))
            return nn.Dense(3, name="fc")(x)

    x = example(2, 4)
    variables = trained(Free(), x)
    state = converters.to_torch(Free(), variables, x)
    np.testing.assert_array_equal(state["position"].numpy(), variables["params"]["position"])


def test_features_that_cannot_be_followed_are_asked_for() -> None:
    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Conv(4, (3, 3))(x)
            return nn.Dense(3, name="fc")(jnp.sort(x.reshape(len(x), -1)))

    x = channels_last(X)
    variables = trained(Odd(), x)
    with pytest.raises(ConversionError, match="cannot be written as a PyTorch state dict") as caught:
        converters.to_torch(Odd(), variables, x)
    assert "flatten_order={'fc': ...}" in str(caught.value)
    assert "fc.weight" in converters.to_torch(Odd(), variables, x, flatten_order={"fc": "channels_last"})


# --- quantized models ---


class Pooled(nn.Module):
    """A pool that is a module of its own, or a function."""

    as_module: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(4, (3, 3), padding=1, name="conv")(x)
        x = Pool(name="pool")(x) if self.as_module else nn.avg_pool(x, (2, 2), (2, 2))
        return nn.Dense(2, name="fc")(x.reshape(len(x), -1)) * 2.0


class Pool(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.avg_pool(x, (2, 2), (2, 2))


def quantized(model: nn.Module, method: str = "MOM") -> tuple[linger_jax.QuantizedModel, Any]:
    qmodel = linger_jax.init(model, {"compat": "reference", "quant_info": {"qat_method": method}})
    variables = initialised(qmodel, channels_last(X))
    return qmodel, qmodel.apply(variables, channels_last(X), mutable=["quant"])[1] | {"params": variables["params"]}


@pytest.mark.parametrize("method", ["MOM", "TQT"])
def test_a_quantized_model_is_written_with_all_its_state_and_read_back(method: str) -> None:
    qmodel, variables = quantized(Pooled(as_module=True), method)
    state = converters.to_torch(qmodel, variables, channels_last(X))
    names = {key.rpartition("_quantizer")[0].rpartition(".")[0] for key in state if "_quantizer" in key}
    assert names == {"conv", "pool", "fc", "_linger_qtensor_qmul_0"}
    first = "running_data" if method == "MOM" else "learning_data"
    assert state[f"conv.weight_quantizer.{first}"].shape == (() if method == "MOM" else (1,))
    assert state["conv.weight_quantizer.is_init_mom_clamp_weight"].dtype == torch.bool
    again, report = converters.load_linger_checkpoint(state, qmodel, None, channels_last(X))
    assert report.missing == ()
    for path, value in flatten_dict(variables).items():
        np.testing.assert_array_equal(flatten_dict(again)[path], value, err_msg=".".join(path))


class OwnProducts(nn.Module):
    """Products that PyTorch has no module for."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Einsum((6, 4), "bc,cd->bd")(x)
        return x @ self.param("w", nn.initializers.normal(), (4, 2)) + self.param("b", nn.initializers.normal(), (1, 2))


@pytest.mark.parametrize("method", ["MOM", "TQT"])
def test_products_without_a_module_keep_their_parameters_and_quantizers(method: str) -> None:
    x = example(3, 6)
    qmodel = linger_jax.init(OwnProducts(), {"quant_info": {"qat_method": method}})
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, x), [x], progress=False)
    with pytest.warns(LingerWarning, match="linger has a module here"):
        state = converters.to_torch(qmodel, variables, x)
    assert {"Einsum_0.kernel", "w", "b", "w.output_quantizer.scale"} <= set(state)
    loaded, _ = converters.load_linger_checkpoint(state, qmodel, None, x)
    np.testing.assert_array_equal(qmodel.apply(loaded, x), qmodel.apply(variables, x))


def test_a_pool_without_a_name_is_asked_for() -> None:
    qmodel, variables = quantized(Pooled(as_module=False))
    with pytest.warns(LingerWarning, match="say it by mapping"):
        state = converters.to_torch(qmodel, variables, channels_last(X))
    assert "_linger_avg_pool_0.output_quantizer.scale" in state
    named = converters.to_torch(qmodel, variables, channels_last(X), mapping={"pool": "_linger_avg_pool_0"})
    assert "pool.output_quantizer.scale" in named


def test_missing_quantizer_state_is_an_error() -> None:
    qmodel, variables = quantized(Pooled(as_module=True))
    with pytest.raises(StateError, match="no 'quant' collection"):
        converters.to_torch(qmodel, {"params": variables["params"]}, channels_last(X))


def test_a_constrained_model_is_written_as_a_float_one() -> None:
    x = channels_last(X)
    variables = trained(Pooled(as_module=True), x)
    state = converters.to_torch(linger_jax.constrain(Pooled(as_module=True)), variables, x)
    assert set(state) == {"conv.weight", "conv.bias", "fc.weight", "fc.bias"}


# --- files ---


def test_a_saved_file_loads_with_weights_only(tmp_path: Path) -> None:
    x = channels_last(X)
    variables = trained(Net(), x)
    converters.save_torch(tmp_path / "net.pt", Net(), variables, x)
    loaded = torch.load(tmp_path / "net.pt", weights_only=True)
    written = converters.to_torch(Net(), variables, x)
    assert all(torch.equal(loaded[key], written[key]) for key in written)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"old")
    x = channels_last(X)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        converters.save_torch(path, Net(), trained(Net(), x), x)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    x = channels_last(X)
    with pytest.raises(FileError, match="there is no folder"):
        converters.save_torch(tmp_path / "nowhere" / "net.pt", Net(), trained(Net(), x), x)

"""Every layer kind computes after the import what PyTorch computes, from weights of PyTorch's layout."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax import converters
from linger_jax.nn import ConvTranspose
from tests.converters.twins import assert_twins, example


class One(nn.Module):
    """A model of one layer, or of several in a row."""

    layers: tuple[nn.Module, ...]

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.copy()(x)
        return x


LAYERS: dict[str, tuple[torch.nn.Module, nn.Module, tuple[int, ...]]] = {
    "linear": (torch.nn.Linear(5, 3), nn.Dense(3), (2, 5)),
    "linear without bias": (torch.nn.Linear(5, 3, bias=False), nn.Dense(3, use_bias=False), (2, 5)),
    "conv1d": (torch.nn.Conv1d(3, 4, 3, dilation=2), nn.Conv(4, (3,), kernel_dilation=2, padding="VALID"), (2, 3, 9)),
    "conv2d": (torch.nn.Conv2d(3, 4, (3, 2), 2), nn.Conv(4, (3, 2), 2, padding="VALID"), (2, 3, 7, 6)),
    "conv2d in groups": (
        torch.nn.Conv2d(4, 6, 3, groups=2),
        nn.Conv(6, (3, 3), feature_group_count=2, padding="VALID"),
        (2, 4, 5, 6),
    ),
    "depthwise": (
        torch.nn.Conv2d(4, 8, 3, groups=4),
        nn.Conv(8, (3, 3), feature_group_count=4, padding="VALID"),
        (2, 4, 5, 6),
    ),
    "conv transpose 1d": (
        torch.nn.ConvTranspose1d(3, 4, 3, 2),
        nn.ConvTranspose(4, (3,), (2,), padding="VALID"),
        (2, 3, 5),
    ),
    "conv transpose 2d": (
        torch.nn.ConvTranspose2d(3, 4, (3, 2), (2, 1)),
        nn.ConvTranspose(4, (3, 2), (2, 1), padding="VALID"),
        (2, 3, 5, 4),
    ),
    "conv transpose with padding": (
        torch.nn.ConvTranspose2d(3, 4, 4, 2, padding=1),
        nn.ConvTranspose(4, (4, 4), (2, 2), padding="SAME"),
        (2, 3, 5, 4),
    ),
    "conv transpose stored as in PyTorch": (
        torch.nn.ConvTranspose2d(3, 4, (3, 2), (2, 1)),
        nn.ConvTranspose(4, (3, 2), (2, 1), padding="VALID", transpose_kernel=True),
        (2, 3, 5, 4),
    ),
    "conv transpose with groups": (
        torch.nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), padding=1, output_padding=(1, 0), groups=2),
        ConvTranspose(6, (3, 2), (2, 1), padding=1, output_padding=(1, 0), feature_group_count=2),
        (2, 4, 5, 4),
    ),
    "square conv transpose stored as in PyTorch": (
        torch.nn.ConvTranspose2d(3, 3, 3, 2),
        nn.ConvTranspose(3, (3, 3), (2, 2), padding="VALID", transpose_kernel=True),
        (2, 3, 5, 4),
    ),
    "batch norm": (torch.nn.BatchNorm2d(3), nn.BatchNorm(use_running_average=True), (2, 3, 5, 4)),
    "batch norm of a sequence": (torch.nn.BatchNorm1d(3), nn.BatchNorm(use_running_average=True), (2, 3, 5)),
    "batch norm of features": (torch.nn.BatchNorm1d(3), nn.BatchNorm(use_running_average=True), (4, 3)),
    "group norm": (torch.nn.GroupNorm(2, 4), nn.GroupNorm(2, epsilon=1e-5), (2, 4, 5, 4)),
    "layer norm": (torch.nn.LayerNorm(5), nn.LayerNorm(epsilon=1e-5), (2, 5)),
    "rms norm": (torch.nn.RMSNorm(5, eps=1e-6), nn.RMSNorm(epsilon=1e-6), (2, 5)),
    "linear written as a 1 x 1 convolution": (torch.nn.Linear(3, 4), nn.Conv(4, (1,)), (2, 3)),
    "1 x 1 convolution written as a dense": (torch.nn.Conv2d(3, 4, 1), nn.Dense(4), (2, 3, 5, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    module, layer, shape = LAYERS[name]
    if name == "linear written as a 1 x 1 convolution":
        x = example(2, 7, 3)
        assert_twins(torch.nn.Sequential(module), One((layer,)), x, flax_x=x)
    else:
        assert_twins(torch.nn.Sequential(module), One((layer,)), example(*shape))


def test_a_model_that_is_one_layer() -> None:
    assert_twins(torch.nn.Linear(5, 3), nn.Dense(3), example(2, 5))


def test_embedding() -> None:
    module = torch.nn.Sequential(torch.nn.Embedding(7, 4), torch.nn.Linear(4, 3))
    model = One((nn.Embed(7, 4), nn.Dense(3)))
    x = np.array([[0, 3, 6], [1, 1, 2]], np.int32)
    variables, _ = converters.from_torch(module.state_dict(), model, x)
    want = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(model.apply(variables, x), want, rtol=0, atol=1e-5)


def test_values_are_copied_out_of_the_checkpoint() -> None:
    weight, bias = np.ones((3, 5), np.float32), _aligned(np.ones(3, np.float32))
    variables, _ = converters.from_torch({"weight": weight, "bias": bias}, nn.Dense(3), example(2, 5))
    weight[:] = bias[:] = 2
    assert {float(v.min()) for v in variables["params"].values()} == {1.0}, "memory is shared with the checkpoint"


def _aligned(array: np.ndarray) -> np.ndarray:
    """The same values where JAX could use the memory as it is."""
    buffer = np.zeros(array.nbytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    result = buffer[start : start + array.nbytes].view(array.dtype)
    result[:] = array
    return result


def test_layers_of_a_scan_are_stacked() -> None:
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x: Any, _: None) -> Any:
            return nn.relu(nn.Dense(4, name="b")(nn.Dense(6, name="a")(x))), None

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            scanned = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
            return nn.Dense(2)(scanned(name="blocks")(x, None)[0])

    def block() -> list[torch.nn.Module]:
        return [torch.nn.Linear(4, 6), torch.nn.Linear(6, 4), torch.nn.ReLU()]

    module = torch.nn.Sequential(*block(), *block(), *block(), torch.nn.Linear(4, 2))
    report = assert_twins(module, Flax(), example(2, 4))
    assert report.mapping["3.weight"] == "params.blocks.a.kernel[1]"


def test_a_shared_layer_is_filled_once() -> None:
    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Linear(4, 4)
            self.alias = self.a
            self.b = torch.nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.alias(self.a(x)))

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            shared = nn.Dense(4)
            return nn.Dense(2)(shared(shared(x)))

    report = assert_twins(Torch(), Flax(), example(2, 4))
    assert dict(report.dropped)["alias.weight"] == "the same tensor as a.weight"


def test_variables_of_the_model_itself_are_matched_by_name_and_shape() -> None:
    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = torch.nn.Parameter(torch.zeros(3, 1, 1))
            self.position = torch.nn.Parameter(torch.zeros(1, 3, 4, 4))
            self.proj = torch.nn.Linear(3, 3, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.proj((x * self.gamma + self.position).mean((2, 3)))

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            gamma = self.param("gamma", nn.initializers.ones, (1, 1, 1, 3))
            x = (x * gamma + self.param("position_table", nn.initializers.ones, (1, 4, 4, 3))).mean((1, 2))
            return x @ self.param("w", nn.initializers.ones, (3, 3))

    x = example(2, 3, 4, 4)
    report = assert_twins(Torch(), Flax(), x, mapping={"proj.weight": "w"})
    assert [(row.path, row.how) for row in report.rows] == [
        ("params.gamma", "name"),
        ("params.position_table", "order"),
        ("params.w", "mapping"),
    ]


def test_other_collections_keep_the_models_own_values() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            count = self.variable("counters", "calls", lambda: jax.numpy.full((), 7, jax.numpy.int32))
            return nn.Dense(3)(x) * count.value.astype(jax.numpy.float32)

    variables, report = converters.from_torch(torch.nn.Linear(5, 3).state_dict(), Flax(), example(2, 5))
    assert variables["counters"]["calls"] == 7
    assert report.missing == ("counters.calls",)


def test_variables_take_the_models_own_dtype() -> None:
    model = nn.Dense(3, param_dtype=jax.numpy.bfloat16)
    x = jax.ShapeDtypeStruct((2, 5), jax.numpy.bfloat16)
    variables, _ = converters.from_torch(torch.nn.Linear(5, 3).state_dict(), model, x)
    assert variables["params"]["kernel"].dtype == jax.numpy.bfloat16


def test_partitioned_parameters_come_without_their_boxes() -> None:
    init = nn.with_partitioning(nn.initializers.ones, (None, "model"))
    variables, _ = converters.from_torch(torch.nn.Linear(5, 3), nn.Dense(3, kernel_init=init), example(2, 5))
    assert isinstance(variables["params"]["kernel"], jax.Array)


# --- random networks ---

STEP = st.sampled_from(["conv", "depthwise", "bn", "relu", "pool", "residual", "branches", "transpose", "gate"])
TAIL = st.sampled_from(["bn", "relu", "linear", "dropout", "norm"])
# Large enough that features that happen to be almost equal are not blown up, and rounding errors with them.
NORM_EPSILON = 0.1


class RandomTorch(torch.nn.Module):
    """A network of the given steps, a flatten (or two, concatenated), and the given tail."""

    def __init__(self, steps: list[str], tail: list[str], both: bool, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.steps, self.tail, self.both = steps, tail, both
        self.layers = torch.nn.ModuleDict()
        self.sizes: list[int] = []
        self(torch.zeros(shape), build=True)

    def layer(self, name: str, make: Any, build: bool) -> Any:
        if build:
            self.layers[name] = make()
            if isinstance(self.layers[name], torch.nn.modules.batchnorm._BatchNorm):
                self.layers[name].eval()
        return self.layers[name]

    def forward(self, x: torch.Tensor, build: bool = False) -> torch.Tensor:
        for i, step in enumerate(self.steps):
            c = x.shape[1]
            if step == "conv":
                x = self.layer(f"{i}", lambda c=c: torch.nn.Conv2d(c, c, 3, padding=1), build)(x)
            elif step == "depthwise":
                x = self.layer(f"{i}", lambda c=c: torch.nn.Conv2d(c, c, 3, padding=1, groups=c), build)(x)
            elif step == "bn":
                x = self.layer(f"{i}", lambda c=c: torch.nn.BatchNorm2d(c), build)(x)
            elif step == "relu":
                x = x.relu()
            elif step == "pool" and min(x.shape[2:]) >= 2:
                x = torch.nn.functional.max_pool2d(x, 2)
            elif step == "residual":
                x = x + self.layer(f"{i}", lambda c=c: torch.nn.Conv2d(c, c, 3, padding=1), build)(x)
            elif step == "branches":
                x = torch.cat([self.layer(f"{i}", lambda c=c: torch.nn.Conv2d(c, 2, 1), build)(x), x], 1)
            elif step == "transpose":
                x = x.transpose(2, 3)
            elif step == "gate":
                x = x * x.mean((2, 3), keepdim=True).sigmoid()
        flat = x.flatten(1)
        x = torch.cat([flat, x[:, :, 0].flatten(1)], 1) if self.both else flat
        for i, step in enumerate(self.tail):
            f = x.shape[1]
            if step == "bn":
                x = self.layer(f"t{i}", lambda f=f: torch.nn.BatchNorm1d(f), build)(x)
            elif step == "relu":
                x = x.relu()
            elif step == "linear":
                x = self.layer(f"t{i}", lambda f=f: torch.nn.Linear(f, 4), build)(x)
            elif step == "norm":
                x = self.layer(f"t{i}", lambda f=f: torch.nn.LayerNorm(f, eps=NORM_EPSILON), build)(x)
        return self.layer("head", lambda f=x.shape[1]: torch.nn.Linear(f, 3), build)(x)


class RandomFlax(nn.Module):
    """The same network, channels-last; with ``named`` its layers carry PyTorch's names."""

    steps: tuple[str, ...]
    tail: tuple[str, ...]
    both: bool
    named: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        def name(text: str) -> str | None:
            return f"layers_{text}" if self.named else None

        def norm(text: str) -> nn.Module:
            return nn.BatchNorm(use_running_average=True, name=name(text))

        for i, step in enumerate(self.steps):
            c = x.shape[-1]
            if step == "conv":
                x = nn.Conv(c, (3, 3), padding=1, name=name(f"{i}"))(x)
            elif step == "depthwise":
                x = nn.Conv(c, (3, 3), padding=1, feature_group_count=c, name=name(f"{i}"))(x)
            elif step == "bn":
                x = norm(f"{i}")(x)
            elif step == "relu":
                x = nn.relu(x)
            elif step == "pool" and min(x.shape[1:3]) >= 2:
                x = nn.max_pool(x, (2, 2), (2, 2))
            elif step == "residual":
                x = x + nn.Conv(c, (3, 3), padding=1, name=name(f"{i}"))(x)
            elif step == "branches":
                x = jax.numpy.concatenate([nn.Conv(2, (1, 1), name=name(f"{i}"))(x), x], axis=-1)
            elif step == "transpose":
                x = jax.numpy.swapaxes(x, 1, 2)
            elif step == "gate":
                x = x * nn.sigmoid(x.mean((1, 2), keepdims=True))
        flat = x.reshape(x.shape[0], -1)
        x = jax.numpy.concatenate([flat, x[:, 0].reshape(x.shape[0], -1)], axis=1) if self.both else flat
        for i, step in enumerate(self.tail):
            if step == "bn":
                x = norm(f"t{i}")(x)
            elif step == "relu":
                x = nn.relu(x)
            elif step == "dropout":
                x = nn.Dropout(0.5, deterministic=True)(x)
            elif step == "linear":
                x = nn.Dense(4, name=name(f"t{i}"))(x)
            elif step == "norm":
                x = nn.LayerNorm(epsilon=NORM_EPSILON, use_fast_variance=False, name=name(f"t{i}"))(x)
        return nn.Dense(3, name=name("head"))(x)


@settings(max_examples=10)
@given(
    steps=st.lists(STEP, min_size=1, max_size=5),
    tail=st.lists(TAIL, max_size=3),
    both=st.booleans(),
    named=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_random_networks_compute_the_same(
    steps: list[str], tail: list[str], both: bool, named: bool, seed: int
) -> None:
    shape = (2, 2, 6, 5)
    module = RandomTorch(steps, tail, both, shape)
    model = RandomFlax(tuple(steps), tuple(tail), both, named)
    report = assert_twins(module, model, example(*shape, seed=seed), seed=seed)
    assert {row.how for row in report.rows} == {"name" if named else "order"}

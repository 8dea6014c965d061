"""Layers between a flatten and a Dense, and products over channels, keep the order of the features."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from linger_jax import converters
from tests.converters.layout.flattening_models import IMAGE, FlaxOnly, TorchOnly, flat
from tests.converters.twins import assert_twins, example

# --- layers between the flatten and the Dense ---


class TorchHead(torch.nn.Module):
    """A convolution, a flatten, a batch norm and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.BatchNorm1d(48),
            torch.nn.Dropout(0.5),
            torch.nn.LayerNorm(48),
            torch.nn.Linear(48, 6),
            torch.nn.Linear(6, 5),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class FlaxHead(nn.Module):
    """The same."""

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        x = flat(nn.relu(nn.Conv(4, (3, 3), padding="VALID")(x)))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.LayerNorm(epsilon=1e-5)(nn.Dropout(0.5, deterministic=not train)(x))
        x = nn.Dense(6)(x)
        return nn.Dense(5)(x)


def test_norms_and_dropout_behind_the_flatten_keep_its_order() -> None:
    report = assert_twins(TorchHead(), FlaxHead(), example(*IMAGE))
    reordered = [row.path for row in report.rows if "(C, H, W)" in row.transform]
    assert reordered == [
        "params.BatchNorm_0.scale",
        "params.BatchNorm_0.bias",
        "batch_stats.BatchNorm_0.mean",
        "batch_stats.BatchNorm_0.var",
        "params.LayerNorm_0.scale",
        "params.LayerNorm_0.bias",
        "params.Dense_0.kernel",
    ]


def test_the_order_is_the_same_when_traced_in_training() -> None:
    module = TorchHead().eval()
    x = np.moveaxis(example(*IMAGE), 1, -1)
    evaluated, _ = converters.from_torch(module.state_dict(), FlaxHead(), x)
    trained, _ = converters.from_torch(module.state_dict(), FlaxHead(), x, train=True)
    np.testing.assert_array_equal(evaluated["params"]["Dense_0"]["kernel"], trained["params"]["Dense_0"]["kernel"])


def test_an_image_that_is_flattened_at_once_is_channels_first() -> None:
    assert_twins(TorchOnly(90, lambda x: x.flatten(1)), FlaxOnly(flat), example(*IMAGE))


def test_a_gray_image_without_channel_axis_is_flattened_alike() -> None:
    x = example(2, 8, 7)
    assert_twins(TorchOnly(56, lambda x: x.flatten(1)), FlaxOnly(flat), x, flax_x=x)


def test_a_sequence_that_a_convolution_reads_is_flattened_channels_first() -> None:
    class TorchSequence(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv1d(3, 4, 3)
            self.fc = torch.nn.Linear(3 * 8 + 4 * 6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(torch.cat([x.flatten(1), self.conv(x).flatten(1)], 1))

    class FlaxSequence(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            y = nn.Conv(4, (3,), padding="VALID")(x)
            return nn.Dense(5)(jnp.concatenate([flat(x), flat(y)], axis=1))

    assert_twins(TorchSequence(), FlaxSequence(), example(2, 3, 8))


def test_token_models_are_flattened_alike() -> None:
    class TorchTokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = torch.nn.Conv2d(3, 8, 3, stride=3)
            self.norm = torch.nn.LayerNorm(8)
            self.mix = torch.nn.Linear(8, 6)
            self.head = torch.nn.Linear(4 * 6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.patches(x).flatten(2).transpose(1, 2)
            return self.head(self.mix(self.norm(x)).flatten(1))

    class FlaxTokens(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Conv(8, (3, 3), strides=(3, 3), padding="VALID")(x)
            x = nn.LayerNorm(epsilon=1e-5)(x.reshape(x.shape[0], -1, 8))
            return nn.Dense(5)(flat(nn.Dense(6)(x)))

    assert_twins(TorchTokens(), FlaxTokens(), example(2, 3, 6, 6))


def test_dense_general_reads_an_image_and_makes_heads() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.DenseGeneral((2, 3), axis=(-3, -2, -1))(nn.Conv(4, (3, 3), padding="VALID")(x))

    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.fc = torch.nn.Linear(48, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).flatten(1)).view(-1, 2, 3)

    x = example(*IMAGE)
    assert_twins(Torch(), Flax(), x)


def test_layer_norm_over_whole_images_is_turned() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Conv(4, (3, 3), padding="VALID", name="conv")(x)
            x = nn.LayerNorm(epsilon=1e-5, reduction_axes=(1, 2, 3), feature_axes=(1, 2, 3), name="norm")(x)
            return x.mean((1, 2))

    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.norm = torch.nn.LayerNorm([4, 4, 3])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(x)).mean((2, 3))

    assert_twins(Torch(), Flax(), example(*IMAGE), mapping={"norm": "norm"})


class PointwiseFlax(nn.Module):
    """A sequence convolution, a product over the channels, a flatten."""

    dense: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(4, (3,), padding="VALID", name="conv")(x)
        x = nn.Dense(5, name="mix")(x) if self.dense else nn.Conv(5, (1,), name="mix")(x)
        return nn.Dense(3, name="head")(flat(x))


class PointwiseTorch(torch.nn.Module):
    """The same: as a 1 x 1 convolution PyTorch flattens it channels first, as a linear layer features last."""

    def __init__(self, linear: bool) -> None:
        super().__init__()
        self.conv = torch.nn.Conv1d(3, 4, 3)
        self.mix = torch.nn.Linear(4, 5) if linear else torch.nn.Conv1d(4, 5, 1)
        self.head = torch.nn.Linear(30, 3)
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.head(self.mix(x.transpose(1, 2) if self.linear else x).flatten(1))


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("linear", [False, True])
def test_a_product_over_channels_is_laid_out_as_pytorch_wrote_it(dense: bool, linear: bool) -> None:
    assert_twins(PointwiseTorch(linear), PointwiseFlax(dense), example(2, 3, 8))


def test_a_model_without_batch_axis() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(5)(nn.relu(nn.Conv(4, (3, 3), padding="VALID")(x)).reshape(-1))

    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(48, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).relu().flatten())

    x = example(3, 6, 5)
    assert_twins(Torch(), Flax(), x, flax_x=np.moveaxis(x, 0, -1))

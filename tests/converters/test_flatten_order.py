"""A Dense behind a flatten reads its features in PyTorch's order, wherever the flatten stands.

Source: docs/decisions.md D20.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

from linger_jax import converters
from linger_jax.errors import ConversionError
from tests.converters.twins import assert_twins, example

IMAGE = (2, 3, 6, 5)


class TorchNet(torch.nn.Module):
    """Two convolutions, whatever brings their results together, one linear layer."""

    def __init__(self, features: int, middle: Callable[..., Any]) -> None:
        super().__init__()
        self.one = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.two = torch.nn.Conv2d(3, 7, 3, padding=1)
        self.fc = torch.nn.Linear(features, 5)
        self.middle = middle

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.middle(self.one(x), self.two(x)))


class FlaxNet(nn.Module):
    """The same."""

    middle: Callable[..., Any]

    @nn.compact
    def __call__(self, x: Any) -> Any:
        one = nn.Conv(4, (3, 3), padding=1)(x)
        two = nn.Conv(7, (3, 3), padding=1)(x)
        return nn.Dense(5)(self.middle(one, two))


def flat(x: Any) -> Any:
    return x.reshape(x.shape[0], -1)


def average(x: Any, *window: tuple[int, int]) -> Any:
    with jax.numpy_dtype_promotion("standard"):  # Flax divides a float32 by an int32
        return nn.avg_pool(x, *window)


MIDDLES: dict[str, tuple[int, Callable[..., Any], Callable[..., Any]]] = {
    "flatten": (120, lambda a, b: a.flatten(1), lambda a, b: flat(a)),
    "relu and pool between": (
        42,
        lambda a, b: functional.max_pool2d(b.relu(), 2).flatten(1),
        lambda a, b: flat(nn.max_pool(nn.relu(b), (2, 2), (2, 2))),
    ),
    "relu behind": (120, lambda a, b: a.flatten(1).relu() * 2, lambda a, b: nn.relu(flat(a)) * 2),
    "average pool": (
        16,
        lambda a, b: functional.avg_pool2d(a, (3, 2), (2, 2)).flatten(1),
        lambda a, b: flat(average(a, (3, 2), (2, 2))),
    ),
    "transposed by the user": (120, lambda a, b: a.flatten(1), lambda a, b: flat(a.transpose(0, 3, 1, 2))),
    "other transposes": (
        120,
        lambda a, b: a.transpose(2, 3).flatten(1),
        lambda a, b: flat(jnp.swapaxes(a, 1, 2)),
    ),
    "two flattened branches": (
        330,
        lambda a, b: torch.cat([b.flatten(1), a.flatten(1)], 1),
        lambda a, b: jnp.concatenate([flat(b), flat(a)], axis=1),
    ),
    "a flattened and a pooled branch": (
        124,
        lambda a, b: torch.cat([a.mean((2, 3)), a.flatten(1)], 1),
        lambda a, b: jnp.concatenate([a.mean((1, 2)), flat(a)], axis=-1),
    ),
    "channels concatenated, then flattened": (
        330,
        lambda a, b: torch.cat([a, b], 1).flatten(1),
        lambda a, b: flat(jnp.concatenate([a, b], axis=-1)),
    ),
    "rows concatenated, then flattened": (
        240,
        lambda a, b: torch.cat([a, a * 2], 2).flatten(1),
        lambda a, b: flat(jnp.concatenate([a, a * 2], axis=1)),
    ),
    "cropped, then flattened": (
        18,
        lambda a, b: a[:, 1:3, 1:4, ::2].flatten(1),
        lambda a, b: flat(a[:, 1:4, ::2, 1:3]),
    ),
    "padded, then flattened": (
        224,
        lambda a, b: functional.pad(a, (1, 2, 1, 0)).flatten(1),
        lambda a, b: flat(jnp.pad(a, ((0, 0), (1, 0), (1, 2), (0, 0)))),
    ),
    "spatial axes merged first": (
        120,
        lambda a, b: a.flatten(2).flatten(1),
        lambda a, b: flat(a.reshape(a.shape[0], -1, 4)),
    ),
    "mean over one axis": (24, lambda a, b: a.mean(3).flatten(1), lambda a, b: flat(a.mean(2))),
    "mean over channels": (30, lambda a, b: a.mean(1).flatten(1), lambda a, b: flat(a.mean(-1))),
    "one row": (20, lambda a, b: a[:, :, 2].flatten(1), lambda a, b: flat(a[:, 2])),
    "gated": (
        120,
        lambda a, b: (a * a.mean((2, 3), keepdim=True).sigmoid()).flatten(1),
        lambda a, b: flat(a * nn.sigmoid(a.mean((1, 2), keepdims=True))),
    ),
    "split in channels": (
        60,
        lambda a, b: (a.chunk(2, 1)[0] + a.chunk(2, 1)[1]).flatten(1),
        lambda a, b: flat(jnp.split(a, 2, axis=-1)[0] + jnp.split(a, 2, axis=-1)[1]),
    ),
    "unflattened again": (
        120,
        lambda a, b: a.flatten(1).reshape(a.shape).relu().flatten(1),
        lambda a, b: flat(nn.relu(flat(a).reshape(a.shape))),
    ),
    "softmax over features": (120, lambda a, b: a.flatten(1).softmax(1), lambda a, b: nn.softmax(flat(a))),
    "global pool": (4, lambda a, b: a.amax((2, 3)), lambda a, b: a.max((1, 2))),
    "kept axes of one": (4, lambda a, b: a.amax((2, 3)), lambda a, b: flat(a.max((1, 2), keepdims=True))),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_rows_of_a_dense_follow_the_flatten(name: str) -> None:
    features, in_torch, in_flax = MIDDLES[name]
    assert_twins(TorchNet(features, in_torch), FlaxNet(in_flax), example(*IMAGE))


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


class FlaxOnly(nn.Module):
    """Applies a function to the input, then one Dense."""

    middle: Callable[..., Any]
    features: int = 5

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(self.features)(self.middle(x))


class TorchOnly(torch.nn.Module):
    """The same."""

    def __init__(self, inputs: int, middle: Callable[..., Any], features: int = 5) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(inputs, features)
        self.middle = middle

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.middle(x))


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


# --- from features to an image: the columns of a Dense ---


class TorchDecoder(torch.nn.Module):
    """Features to an image, as in generators and autoencoders."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(6, 2 * 3 * 4)
        self.norm = torch.nn.BatchNorm1d(24) if norm else torch.nn.Identity()
        self.up = torch.nn.ConvTranspose2d(4, 3, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.norm(self.fc(x)).relu().view(-1, 4, 2, 3))


class FlaxDecoder(nn.Module):
    """The same."""

    norm: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(24)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=True)(x)
        return nn.ConvTranspose(3, (2, 2), strides=(2, 2), padding="VALID")(nn.relu(x).reshape(-1, 2, 3, 4))


@pytest.mark.parametrize("norm", [False, True])
def test_columns_of_a_dense_follow_the_reshape_to_an_image(norm: bool) -> None:
    report = assert_twins(TorchDecoder(norm), FlaxDecoder(norm), example(2, 6))
    assert "columns from (C, H, W) order" in report.rows[0].transform


def test_a_decoder_that_ends_in_a_reshape_makes_an_image() -> None:
    assert_twins(
        TorchThen(24, lambda x: x.view(-1, 4, 2, 3)), FlaxThen(24, lambda x: x.reshape(-1, 2, 3, 4)), example(2, 6)
    )


def test_a_decoder_transposed_by_the_user_is_left_alone() -> None:
    report = assert_twins(
        TorchThen(24, lambda x: x.view(-1, 4, 2, 3)),
        FlaxThen(24, lambda x: x.reshape(-1, 4, 2, 3).transpose(0, 2, 3, 1)),
        example(2, 6),
    )
    assert report.rows[0].transform == "[out, in] -> [in, out]"


def test_autoencoder_flattens_and_unflattens() -> None:
    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = torch.nn.Conv2d(3, 4, 2, stride=2)
            self.code = torch.nn.Linear(4 * 3 * 2, 5)
            self.decode = torch.nn.Linear(5, 24)
            self.up = torch.nn.ConvTranspose2d(4, 3, 2, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.down(x)
            return self.up(x + self.decode(self.code(x.flatten(1))).view(x.shape))

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Conv(4, (2, 2), strides=(2, 2), padding="VALID")(x)
            y = nn.Dense(24)(nn.Dense(5)(flat(x)))
            return nn.ConvTranspose(3, (2, 2), strides=(2, 2), padding="VALID")(x + y.reshape(x.shape))

    assert_twins(Torch(), Flax(), example(2, 3, 6, 4))


class TorchThen(torch.nn.Module):
    """One linear layer, then a function."""

    def __init__(self, features: int, after: Callable[..., Any]) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(6, features)
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.fc(x))


class FlaxThen(nn.Module):
    """The same."""

    features: int
    after: Callable[..., Any]

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return self.after(nn.Dense(self.features)(x))


# --- parameters of the model itself, bodies, and what cannot be followed ---


def test_a_product_and_a_scale_written_by_hand_follow_the_flatten() -> None:
    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.gain = torch.nn.Parameter(torch.zeros(48))
            self.fc = torch.nn.Linear(48, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).flatten(1) * self.gain)

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = flat(nn.Conv(4, (3, 3), padding="VALID")(x))
            return nn.Dense(5)(x * self.param("gain", nn.initializers.ones, (48,))[None])

    assert_twins(Torch(), Flax(), example(*IMAGE))


def test_flatten_is_followed_into_and_out_of_remat() -> None:
    class Stem(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return flat(nn.relu(nn.Conv(4, (3, 3), padding="VALID")(x)))

    class Head(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(5)(x)

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.remat(Head)()(nn.remat(Stem)()(x))

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 5))
    assert_twins(module, Flax(), example(*IMAGE))


class ReadText(nn.Module):
    """Columns of an image as a sequence: rows and channels become features."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(4, (3, 3), padding="VALID")(x)
        return nn.Dense(5)(x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1))


class TorchReadText(torch.nn.Module):
    """The same; ``channels_first`` decides what PyTorch merges first."""

    def __init__(self, channels_first: bool) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.fc = torch.nn.Linear(16, 5)
        self.axes = (0, 3, 1, 2) if channels_first else (0, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).permute(self.axes).flatten(2))


def test_features_that_can_be_meant_both_ways_are_asked_for() -> None:
    with pytest.raises(ConversionError, match=r"Dense_0 reads features whose order.*flatten_order=\{'Dense_0': "):
        assert_twins(TorchReadText(True), ReadText(), example(*IMAGE))


@pytest.mark.parametrize("channels_first", [True, False])
def test_the_user_says_which_order_is_meant(channels_first: bool) -> None:
    x = example(*IMAGE)
    choice = "channels_first" if channels_first else "channels_last"
    assert_twins(TorchReadText(channels_first), ReadText(), x, flatten_order={"Dense_0": choice})


def test_the_user_gives_the_indices() -> None:
    assert_twins(
        torch.nn.Sequential(PickFeatures([2, 0, 1]), torch.nn.Linear(3, 2)),
        FlaxOnly(lambda x: x, 2),
        example(4, 3),
        flatten_order={"Dense_0": np.argsort([2, 0, 1])},
    )


class PickFeatures(torch.nn.Module):
    """Takes features in another order."""

    def __init__(self, index: list[int]) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, self.index]


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"Dense_1": "channels_last"}, "flatten_order: the model has no layer 'Dense_1'; nearest: 'Dense_0'"),
        ({"Dense_0": "rows"}, "'rows' is neither 'channels_first', 'channels_last' nor a list of indices"),
        ({"Dense_0": "channels_first"}, "cannot be followed here; give PyTorch's index of each of its 3 features"),
        ({"Dense_0": [0, 1]}, "Dense_0 reads 3 features: the indices must be a permutation of 0 to 2"),
        ({"Dense_0": [0, 1, 1]}, "Dense_0 reads 3 features: the indices must be a permutation of 0 to 2"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(choice: Any, text: str) -> None:
    state = torch.nn.Sequential(torch.nn.Linear(3, 2)).state_dict()
    with pytest.raises(ConversionError) as caught:
        converters.from_torch(state, FlaxOnly(lambda x: x, 2), example(4, 3), flatten_order=choice)
    assert text in str(caught.value)


def test_flattened_features_that_are_cut_are_not_guessed() -> None:
    with pytest.raises(ConversionError, match="flattened features are cut in places that PyTorch counts differently"):
        assert_twins(
            TorchOnly(40, lambda x: x.flatten(1)[:, :40]), FlaxOnly(lambda x: flat(x)[:, :40]), example(*IMAGE)
        )


def test_flattened_features_that_are_cut_where_they_were_joined_are_followed() -> None:
    def in_torch(x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([x.flatten(1), (x * 2).flatten(1)], 1)
        return both[:, :90] + both[:, 90:]

    def in_flax(x: Any) -> Any:
        both = jnp.concatenate([flat(x), flat(x * 2)], axis=1)
        return both[:, :90] + both[:, 90:]

    assert_twins(TorchOnly(90, in_torch), FlaxOnly(in_flax), example(*IMAGE))


def test_grouped_channels_in_another_order_are_not_guessed() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            b, h, w, c = x.shape
            x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)
            return nn.Conv(6, (1, 1), feature_group_count=2)(x)

    module = torch.nn.Sequential(torch.nn.PixelUnshuffle(2), torch.nn.Conv2d(12, 6, 1, groups=2))
    with pytest.raises(ConversionError, match="its channels are in groups"):
        assert_twins(module, Flax(), example(2, 3, 4, 4))


def test_space_to_depth_is_asked_for_and_then_followed() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            b, h, w, c = x.shape
            x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)
            return nn.Conv(6, (1, 1))(x)

    module = torch.nn.Sequential(torch.nn.PixelUnshuffle(2), torch.nn.Conv2d(12, 6, 1))
    with pytest.raises(ConversionError, match="Conv_0 reads features whose order in PyTorch cannot be told"):
        assert_twins(module, Flax(), example(2, 3, 4, 4))
    assert_twins(module, Flax(), example(2, 3, 4, 4), flatten_order={"Conv_0": "channels_first"})

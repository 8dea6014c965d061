"""The models of the trajectory files (../shared/golden/README.md), written as a Flax user would write them."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np

from tests.golden.outcome import NotSupportedError


class Mlp(nn.Module):
    """fc1, ReLU, fc2, ReLU, fc3."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for i, width in enumerate(self.widths[:-1], start=1):
            x = nn.relu(nn.Dense(width, name=f"fc{i}")(x))
        return nn.Dense(self.widths[-1], name=f"fc{len(self.widths)}")(x)


class Cnn(nn.Module):
    """conv1, ReLU, max pool, conv2, ReLU, global average, fc; BatchNorm behind the convolutions where asked for."""

    widths: tuple[int, int, int]
    biases: tuple[bool, bool]
    normalized: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for i, (width, bias) in enumerate(zip(self.widths[:2], self.biases, strict=True), start=1):
            x = nn.Conv(width, (3, 3), padding=1, use_bias=bias, name=f"conv{i}")(x)
            if self.normalized:
                x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name=f"bn{i}")(x)
            x = nn.relu(x)
            if i == 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(self.widths[2], name="fc")(x.mean(axis=(1, 2)))


def build_model(op: str, params: Mapping[str, np.ndarray]) -> nn.Module:
    """The model ``op`` with the widths of a file's parameters; ``convbn`` before its layers are fused.

    Raises:
      NotSupportedError: another model.
    """

    def width(layer: str) -> int:
        return int(params[f"{layer}.weight"].shape[0])

    if op == "mlp":
        return Mlp(tuple(width(f"fc{i}") for i in (1, 2, 3)))
    if op in ("cnn", "bncnn", "convbn"):
        biases = ("conv1.bias" in params, "conv2.bias" in params)
        return Cnn((width("conv1"), width("conv2"), width("fc")), biases, normalized=op != "cnn")
    raise NotSupportedError(f"model {op} is not covered yet")


# Where the state of the reference's module stands in these models.
SITES: Mapping[str, tuple[str, ...]] = {"gap": ("_linger_avg_pool_0",)}


def torch_op(layer: str) -> str:
    """PyTorch's class of a layer, by the models' naming."""
    kinds = {"fc": "Linear", "conv": "Conv2d", "bn": "BatchNorm2d", "gap": "AdaptiveAvgPool2d"}
    return kinds[layer.rstrip("0123456789")]

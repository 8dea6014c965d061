"""The Flax layer that a file's ``op`` and ``ctor`` describe."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from linger_jax.nn import ConvTranspose, SparifyFFN
from tests.golden.models.pooling_layers import POOLING
from tests.golden.models.torch_arguments import Arguments
from tests.golden.outcome import NotSupportedError

Builder = Callable[[Arguments, "Call"], nn.Module]


class Call:
    """What a layer's form depends on besides its arguments.

    Attributes:
      shape: shape of the input, channels last.
      training: whether batch statistics are taken.
      batches: training steps seen so far, for a cumulative average.
      calibrating: the pass calibrates.
    """

    def __init__(self, shape: tuple[int, ...], *, training: bool, batches: int = 0, calibrating: bool = False) -> None:
        self.shape = shape
        self.training = training
        self.batches = batches
        self.calibrating = calibrating


class OneLayer(nn.Module):
    """A model of one layer, under the name ``layer``."""

    layer: nn.Module

    def __call__(self, x: Any) -> Any:
        return self.layer(x)


class Function(nn.Module):
    """A function of one array as a module, so that it has a name."""

    function: Callable[[Any], Any]

    def __call__(self, x: Any) -> Any:
        return self.function(x)


class PaddedConv(nn.Module):
    """A convolution behind a padding that Flax has no word for: borders repeated or mirrored."""

    sources: tuple[tuple[int, ...], ...]
    conv: nn.Conv

    def __call__(self, x: Any) -> Any:
        for axis, positions in enumerate(self.sources, start=1):
            x = jnp.take(x, np.asarray(positions), axis=axis, mode="clip")
        return self.conv(x)


def build_layer(op: str, ctor: Mapping[str, Any] | None, call: Call) -> nn.Module:
    """The Flax module of a PyTorch layer.

    Raises:
      NotSupportedError: Flax has no such layer, or not with these arguments.
    """
    builder = LAYERS.get(op)
    if builder is None:
        raise NotSupportedError(f"{op} is not covered yet")
    arguments = Arguments(op, ctor)
    layer = builder(arguments, call)
    arguments.finish()
    return layer


def _linear(a: Arguments, call: Call) -> nn.Module:
    a.take("in_features")
    return nn.Dense(a.take("out_features"), use_bias=a.take("bias", True))


def _conv(a: Arguments, call: Call) -> nn.Module:
    axes = len(call.shape) - 2
    a.take("in_channels")
    kernel = a.each_axis("kernel_size", None, axes)
    dilation = a.each_axis("dilation", 1, axes)
    padding = a.each_axis("padding", 0, axes)
    mode = a.take("padding_mode", "zeros")
    common: dict[str, Any] = {
        "features": a.take("out_channels"),
        "kernel_size": kernel,
        "strides": a.each_axis("stride", 1, axes),
        "kernel_dilation": dilation,
        "feature_group_count": a.take("groups", 1),
        "use_bias": a.take("bias", True),
    }
    if mode == "zeros":
        return nn.Conv(padding=[(p, p) for p in padding], **common)
    if mode not in _POSITIONS:
        raise NotSupportedError(f"{a.op}: padding_mode={mode!r}")
    symmetric = all(d * (k - 1) == 2 * p for k, d, p in zip(kernel, dilation, padding, strict=True))
    if mode in _FLAX_PADDINGS and symmetric:
        return nn.Conv(padding=_FLAX_PADDINGS[mode], **common)
    if call.calibrating:
        raise NotSupportedError(f"{a.op}: calibration sees the copies of padding_mode={mode!r}, which Flax lacks")
    sources = tuple(_positions(mode, n, p) for n, p in zip(call.shape[1:-1], padding, strict=True))
    return PaddedConv(sources, nn.Conv(padding="VALID", **common))


_FLAX_PADDINGS = {"reflect": "REFLECT", "circular": "CIRCULAR"}
_POSITIONS = {"reflect": "reflect", "circular": "wrap", "replicate": "edge"}


def _positions(mode: str, extent: int, padding: int) -> tuple[int, ...]:
    return tuple(np.pad(np.arange(extent), padding, mode=_POSITIONS[mode]).tolist())


def _conv_transpose(a: Arguments, call: Call) -> nn.Module:
    axes = len(call.shape) - 2
    a.take("in_channels")
    a.only("padding_mode", "zeros")
    return ConvTranspose(
        features=a.take("out_channels"),
        kernel_size=a.each_axis("kernel_size", None, axes),
        strides=a.each_axis("stride", 1, axes),
        padding=a.each_axis("padding", 0, axes),
        output_padding=a.each_axis("output_padding", 0, axes),
        kernel_dilation=a.each_axis("dilation", 1, axes),
        feature_group_count=a.take("groups", 1),
        use_bias=a.take("bias", True),
    )


def _batch_norm(a: Arguments, call: Call) -> nn.Module:
    a.take("num_features")
    momentum = a.take("momentum", 0.1)
    share = 1.0 / (call.batches + 1) if momentum is None else momentum
    affine = a.take("affine", True)
    tracked = a.take("track_running_stats", True)
    return nn.BatchNorm(
        use_running_average=not call.training and tracked,
        momentum=1.0 - share,
        epsilon=a.take("eps", 1e-5),
        use_scale=affine,
        use_bias=affine,
    )


def _layer_norm(a: Arguments, call: Call) -> nn.Module:
    shape = a.take("normalized_shape")
    axes = tuple(range(-len(shape), 0)) if isinstance(shape, list) else -1
    affine = a.take("elementwise_affine", True)
    return nn.LayerNorm(
        epsilon=a.take("eps", 1e-5),
        use_scale=affine,
        use_bias=affine and a.take("bias", True),
        reduction_axes=axes,
        feature_axes=axes,
    )


def _embedding(a: Arguments, call: Call) -> nn.Module:
    a.only("max_norm", None)
    a.only("sparse", False)
    a.only("scale_grad_by_freq", False)
    a.take("padding_idx")  # stops the gradient of its rows; the replay does that with the cotangent
    return nn.Embed(a.take("num_embeddings"), a.take("embedding_dim"))


def _sparify_ffn(a: Arguments, call: Call) -> nn.Module:
    return SparifyFFN(a.take("in_feature"), a.take("ou_feature"), use_bias=a.take("bias", True))


def _relu(a: Arguments, call: Call) -> nn.Module:
    a.take("inplace")
    return Function({"ReLU": nn.relu, "ReLU6": nn.relu6}[a.op])


def _glu(a: Arguments, call: Call) -> nn.Module:
    return Function(functools.partial(nn.glu, axis=a.take("dim", -1)))


def _pooling(a: Arguments, call: Call) -> nn.Module:
    return Function(POOLING[a.op](a, call.shape))


LAYERS: Mapping[str, Builder] = {
    "Linear": _linear,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "ConvTranspose1d": _conv_transpose,
    "ConvTranspose2d": _conv_transpose,
    "BatchNorm1d": _batch_norm,
    "BatchNorm2d": _batch_norm,
    "LayerNorm": _layer_norm,
    "Embedding": _embedding,
    "SparifyFFN": _sparify_ffn,
    "GLU": _glu,
    "ReLU": _relu,
    "ReLU6": _relu,
    **dict.fromkeys(POOLING, _pooling),
}

"""Which Flax Linen classes are layers, and what the rules must know of one call of each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from linger_jax.compat.linen import intercepted_method, written_method
from linger_jax.kinds import (
    BATCH_NORM,
    CONV,
    CONV_TRANSPOSE,
    DENSE,
    DROPOUT,
    EINSUM,
    EMBED,
    GROUP_NORM,
    INSTANCE_NORM,
    LAYER_NORM,
    PRELU,
    RMS_NORM,
    SPARIFY_FFN,
    LayerKind,
)
from linger_jax.nn import ConvTranspose, SparifyFFN, TorchGRUCell, TorchLSTMCell

Attributes = dict[str, Any]
Refusal = str | None
"""Why this call cannot be quantized whatever the configuration says."""
Describe = Callable[[nn.Module, inspect.BoundArguments], tuple[Attributes, Refusal]]

# Kernels of the target chips slide over one or two axes.
MOST_SPATIAL_AXES = 2


def _plain(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, Refusal]:
    del module, call
    return {}, None


def _dense(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, Refusal]:
    del call
    return {}, _injected(module, "dot_general", "dot_general_cls")


def _dense_general(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, Refusal]:
    attributes, refusal = _dense(module, call)
    return {**attributes, "custom": bool(np.size(module.batch_dims))}, refusal


def _einsum(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, Refusal]:
    del module, call
    return {"custom": True}, None


def _conv(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, Refusal]:
    del call
    window = (module.kernel_size,) if isinstance(module.kernel_size, int) else tuple(module.kernel_size)
    input_dilation = getattr(module, "input_dilation", 1)
    refusal = None
    if len(window) > MOST_SPATIAL_AXES:
        refusal = f"a convolution over {len(window)} axes: only one or two are supported"
    elif getattr(module, "mask", None) is not None:
        refusal = "a weight mask is not supported"
    elif input_dilation is not None and set(np.ravel(input_dilation).tolist()) != {1}:
        refusal = "input_dilation is not supported; use ConvTranspose"
    attributes = {
        "custom": isinstance(module, nn.ConvLocal),
        "features": module.features,
        "use_bias": module.use_bias,
        "groups": getattr(module, "feature_group_count", 1),
        "padding": module.padding,
        "transpose_kernel": getattr(module, "transpose_kernel", False),
    }
    return attributes, refusal or _injected(module, "conv_general_dilated", "conv_general_dilated_cls")


def _injected(module: nn.Module, *names: str) -> Refusal:
    """A product of the user's own in the place of the library's is not ours to quantize."""
    given = [name for name in names if getattr(module, name, None) is not None]
    return f"{given[0]} replaces the layer's own product" if given else None


def _batch_norm(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, Refusal]:
    running = nn.merge_param(
        "use_running_average", module.use_running_average, call.arguments.get("use_running_average")
    )
    attributes = {
        "training": not running,
        "momentum": float(module.momentum),
        "epsilon": float(module.epsilon),
    }
    rank = np.ndim(call.arguments["x"])
    refusal = None
    if module.axis not in (-1, rank - 1):
        refusal = f"axis {module.axis}: only the last axis is supported"
    elif call.arguments.get("mask") is not None:
        refusal = "a mask is not supported"
    elif module.axis_name is not None:
        refusal = "axis_name belongs to pmap; use jit with a sharded batch, statistics are global there"
    return attributes, refusal


def _dropout(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, Refusal]:
    del call
    return {"rate": float(module.rate)}, None


def _layer_norm(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, Refusal]:
    """``axes`` is how many trailing axes are normalized; ``integer_refusal`` why the integer kernel cannot."""
    rank = np.ndim(call.arguments["x"])
    over = _axes(module.reduction_axes, rank)
    trailing = tuple(range(rank - len(over), rank))
    reason = None
    if over != trailing:
        reason = f"reduction_axes {module.reduction_axes}: only trailing axes are supported"
    elif (module.use_scale or module.use_bias) and _axes(module.feature_axes, rank) != over:
        reason = (
            f"feature_axes {module.feature_axes} are not the reduction_axes {module.reduction_axes}: "
            "the chip has a scale and a bias for each normalized value"
        )
    elif call.arguments.get("mask") is not None:
        reason = "a mask is not supported"
    elif module.axis_name is not None:
        reason = "axis_name belongs to pmap; shard other axes than the normalized ones"
    return {"epsilon": float(module.epsilon), "axes": len(over), "integer_refusal": reason}, None


def _axes(given: Any, rank: int) -> tuple[int, ...]:
    return tuple(sorted({int(axis) % rank for axis in np.ravel(given)}))


def _embed(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, Refusal]:
    del call
    return {"num_embeddings": module.num_embeddings, "features": module.features}, None


def _sparify_ffn(module: nn.Module, call: inspect.BoundArguments) -> tuple[Attributes, Refusal]:
    del call
    return {"hidden": module.ou_feature}, None


LAYERS: Mapping[type[nn.Module], tuple[LayerKind, Describe]] = {
    nn.Dense: (DENSE, _dense),
    nn.DenseGeneral: (DENSE, _dense_general),
    nn.Einsum: (EINSUM, _einsum),
    nn.Conv: (CONV, _conv),
    nn.ConvTranspose: (CONV_TRANSPOSE, _conv),
    ConvTranspose: (CONV_TRANSPOSE, _conv),
    nn.BatchNorm: (BATCH_NORM, _batch_norm),
    nn.Embed: (EMBED, _embed),
    nn.Dropout: (DROPOUT, _dropout),
    nn.LayerNorm: (LAYER_NORM, _layer_norm),
    nn.GroupNorm: (GROUP_NORM, _plain),
    nn.RMSNorm: (RMS_NORM, _plain),
    nn.InstanceNorm: (INSTANCE_NORM, _plain),
    nn.PReLU: (PRELU, _plain),
    SparifyFFN: (SPARIFY_FFN, _sparify_ffn),
}
"""A class is a layer when its ``__call__`` stands here, its own or an inherited one."""

FLOAT_COMPOSITES: Mapping[type[nn.Module], str] = {
    nn.LSTMCell: "recurrent cell outside nn.RNN",
    nn.OptimizedLSTMCell: "recurrent cell outside nn.RNN",
    nn.GRUCell: "recurrent cell outside nn.RNN",
    TorchLSTMCell: "recurrent cell outside nn.RNN",
    TorchGRUCell: "recurrent cell outside nn.RNN",
    nn.ConvLSTMCell: "recurrent cell",
    nn.SimpleCell: "recurrent cell",
    nn.MGUCell: "recurrent cell",
    nn.Fp8DirectDotGeneralOp: "float8 product",
    nn.Fp8DotGeneral: "float8 product",
    nn.Fp8DotGeneralOp: "float8 product",
    nn.Fp8Einsum: "float8 product",
    nn.NANOOFp8DotGeneralOp: "float8 product",
    nn.SpectralNorm: "spectral normalisation",
    nn.WeightNorm: "weight normalisation",
}
"""Composite layers: everything inside runs as float and is listed once, under the composite's own name."""


def defining_class(method: Callable[..., Any], table: Mapping[type[nn.Module], Any]) -> type[nn.Module] | None:
    """The class of ``table`` whose ``__call__`` a Flax interceptor is about to run, or None.

    Not the module's type but the function decides: ``nn.remat(nn.Dense)`` and a subclass that calls
    ``super().__call__`` end up in ``nn.Dense.__call__``, a subclass with another computation does not.

    Args:
      method: ``orig_method`` of the interceptor's context.
      table: keyed by class.
    """
    function = intercepted_method(method)
    return next((base for base in table if written_method(base.__call__) is function), None)

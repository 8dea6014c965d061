"""A convolution and the normalization behind it as a Flax model, from the files of the reference's ConvBN layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tests.golden.models import torch_layout as layout
from tests.golden.models.flax_layers import Call, build_layer
from tests.golden.outcome import NotSupportedError

Tree = dict[str, Any]


class ConvAndNorm(nn.Module):
    """A convolution and its normalization."""

    conv: nn.Module
    norm: nn.Module

    def __call__(self, x: Any) -> Any:
        return self.norm(self.conv(x))


def conv_and_norm(op: str, ctor: Mapping[str, Any], shape: tuple[int, ...], *, training: bool) -> ConvAndNorm:
    """The model of a ConvBN layer (``ConvTransposeBN2d``) with the arguments ``ctor``.

    Raises:
      NotSupportedError: borders that are not zeros.
    """
    if ctor.get("padding_mode", "zeros") != "zeros":
        raise NotSupportedError(f"{op}: padding_mode={ctor['padding_mode']!r}")
    call = Call(shape, training=training)
    of_conv = {key: value for key, value in ctor.items() if key not in ("eps", "momentum")}
    of_norm = {key: value for key, value in ctor.items() if key in ("eps", "momentum")}
    norm = build_layer(f"BatchNorm{len(shape) - 2}d", {"num_features": ctor["out_channels"], **of_norm}, call)
    return ConvAndNorm(build_layer(op.replace("BN", ""), of_conv, call), norm)


def variables_of(op: str, named: Mapping[str, np.ndarray], groups: int) -> Tree:
    """Collections of the model from the names of a file: ``conv.weight``, ``bn.running_mean``..."""
    flat: Tree = {"conv": {"kernel": layout.to_kernel(op, named["conv.weight"], groups)}, "norm": {}}
    if "conv.bias" in named:
        flat["conv"]["bias"] = named["conv.bias"]
    for torch_name, name in (("bn.weight", "scale"), ("bn.bias", "bias")):
        if torch_name in named:
            flat["norm"][name] = named[torch_name]
    statistics = {"norm": {"mean": named["bn.running_mean"], "var": named["bn.running_var"]}}
    return jax.tree.map(jnp.asarray, {"params": flat, "batch_stats": statistics})


def by_torch_name(op: str, params: Mapping[str, Any], groups: int) -> dict[str, np.ndarray]:
    """Parameters (or their gradients) under the names and in the layout of a file."""
    names = {("conv", "bias"): "conv.bias", ("norm", "scale"): "bn.weight", ("norm", "bias"): "bn.bias"}
    found = {"conv.weight": layout.from_kernel(op, np.asarray(params["conv"]["kernel"]), groups)}
    return found | {
        torch_name: np.asarray(params[layer][name])
        for (layer, name), torch_name in names.items()
        if name in params.get(layer, {})
    }

"""``trace_layers``: which layers belong together, found by tracing the model once.

Source: docs/specification/layers.md section 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from linger_jax.api.call_checks import refuse_empty
from linger_jax.api.fusion.checkpoint_adapter import CheckpointAdapter
from linger_jax.api.fusion.fused_model import FusedModel
from linger_jax.api.quant_collection import copied, float_collections
from linger_jax.errors import LingerError
from linger_jax.plan import find_fusion
from linger_jax.plan.recognize import TEMPLATES, flatten, recognise
from linger_jax.staging import split_call, stage
from linger_jax.typing import Tree


def trace_layers(
    model: nn.Module | FusedModel,
    variables: Mapping[str, Any],
    *args: Any,
    fuse_bn: bool = True,
    rngs: Any = None,
    method: Any = None,
    **kwargs: Any,
) -> tuple[FusedModel, Tree, CheckpointAdapter]:
    """Finds convolutions with a batch normalization behind them, and activations behind layers.

    *Behind* means: reads the very value that the other returns, and nothing else reads it. Fused are ``nn.Conv`` and
    ``nn.ConvTranspose`` (exactly these types, or ``linger_jax.nn.ConvTranspose``) that are called once. A ReLU or
    sigmoid behind a pair, a convolution or a dense layer, and a ReLU behind a batch normalization, mark that layer; a
    quantized layer with the mark ``Relu`` takes the statistic of its output from positive values only.

    The model is traced, not run: no running statistic moves, whatever the call says.

    Args:
      model: a Linen module, unbound, or a fused model, whose fusion is found anew.
      variables: the float model's collections; arrays may be ``jax.ShapeDtypeStruct``.
      *args, **kwargs, rngs, method: a call of the model, as in ``nn.Module.apply``.
      fuse_bn: False finds activations only.

    Returns:
      The fused model, for ``linger_jax.init``, ``linger_jax.constrain`` or training in float; its
      variables, which are those given; and the adapter that renames the keys of PyTorch checkpoints as linger's fused
      modules have them.

    Raises:
      LingerError: not a module, a bound one, or an argument without elements.
    """
    module = model.model if isinstance(model, FusedModel) else model
    require_unbound(module)
    collections = float_collections(variables)
    refuse_empty(args, kwargs)
    mutable = tuple(c for c in collections if c != "params")
    call, arrays = split_call(args, kwargs, rngs, method, mutable)
    staged = stage(module, collections, call, arrays)
    graph, _ = flatten(staged.jaxpr, staged.variables)
    fusion = find_fusion(recognise(graph, TEMPLATES), fuse_bn=fuse_bn)
    adapter = CheckpointAdapter((".".join(pair.conv), ".".join(pair.norm)) for pair in fusion.pairs)
    return FusedModel(module, fusion), copied(collections), adapter


def require_unbound(model: Any) -> None:
    """Refuses what is not a Linen module, or one that is bound to variables.

    Raises:
      LingerError: says which.
    """
    if not isinstance(model, nn.Module):
        raise LingerError(f"expected a flax.linen Module instance, got {type(model).__name__}")
    if model.scope is not None:
        raise LingerError("the model is bound to variables; pass the module as it was constructed")

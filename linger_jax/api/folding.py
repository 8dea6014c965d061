"""Variables of a model whose convolutions hold their normalization: from two layers' entries to one's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from linger_jax.api.quant_collection import copied, get_in, set_in
from linger_jax.errors import StateError
from linger_jax.numerics.normalization import fold_batch_norm
from linger_jax.plan import FusedPair, PlanSettings, Semantics
from linger_jax.typing import Path, Tree

REFERENCE_EPSILON = 1e-5
"""What the reference folds with, whatever the layer says (docs/specification/layers.md section 5.2)."""


def fold_variables(settings: PlanSettings, variables: Mapping[str, Any]) -> Tree:
    """Folds every pair that will be one quantized convolution; a pair that is folded already stays as it is.

    Args:
      settings: what the user asked for.
      variables: the float model's collections, arrays or ``jax.ShapeDtypeStruct``.

    Returns:
      New collections: ``kernel`` and ``bias`` at the convolution, nothing at the normalization. ``batch_stats`` stays,
      empty where every normalization was folded, so that a training loop that hands it on keeps working.

    Raises:
      StateError: only one of the two layers is there, or their shapes do not fit.
    """
    pairs = settings.folded_pairs
    result: Tree = {name: copied(entries) if pairs else entries for name, entries in variables.items()}
    for pair in pairs:
        _fold_pair(settings.semantics, pair, result)
    return result


def _fold_pair(semantics: Semantics, pair: FusedPair, variables: Tree) -> None:
    params, statistics = variables.get("params", {}), variables.get("batch_stats", {})
    kernel, bias = (get_in(params, (*pair.conv, name)) for name in ("kernel", "bias"))
    mean, variance = (get_in(statistics, (*pair.norm, name)) for name in ("mean", "var"))
    names = f"{'.'.join(pair.conv)!r} and {'.'.join(pair.norm)!r}"
    if kernel is None:
        raise StateError(f"{names} are fused, but the variables have no kernel of the convolution")
    if mean is None or variance is None:
        if bias is not None and get_in(params, pair.norm) is None:
            return  # folded already
        raise StateError(
            f"{names} are fused, but the variables have no running statistics of the normalization (batch_stats)"
        )
    gamma, beta = (get_in(params, (*pair.norm, name)) for name in ("scale", "bias"))

    def fold(kernel: Any, bias: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
        kernel = jnp.swapaxes(kernel, -1, -2) if pair.transpose_kernel else kernel
        epsilon = pair.epsilon if semantics.folds_with_own_epsilon else REFERENCE_EPSILON
        groups = None if semantics.folds_output_channels else pair.transposed_groups
        kernel, bias = fold_batch_norm(kernel, bias, gamma, beta, mean, variance, epsilon, input_groups=groups)
        return (jnp.swapaxes(kernel, -1, -2) if pair.transpose_kernel else kernel), bias

    operands = (kernel, bias, gamma, beta, mean, variance)
    abstract = any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in operands)
    try:
        kernel, bias = jax.eval_shape(fold, *operands) if abstract else fold(*operands)
    except (TypeError, ValueError) as error:
        raise StateError(f"{names} cannot be folded: {error}") from error
    set_in(params, (*pair.conv, "kernel"), kernel)
    set_in(params, (*pair.conv, "bias"), bias)
    _remove(params, pair.norm)
    _remove(statistics, pair.norm)


def _remove(tree: Tree, path: Path) -> None:
    """Takes an entry out, and the levels above it that are empty then."""
    head, *rest = path
    below = tree.get(head)
    if rest and isinstance(below, dict):
        _remove(below, tuple(rest))
        if below:
            return
    tree.pop(head, None)

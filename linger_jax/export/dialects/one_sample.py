"""An example input of many samples, cut to the one that the packer wants."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from linger_jax.compat import on_host
from linger_jax.errors import ExportError, LingerWarning
from linger_jax.plan import Plan

_REMEDY = "give an example input of one sample"


def one_sample(
    plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any], evaluate: Callable[..., Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with their first axis cut to one sample; as they are where it is that long already.

    It is cut where every array has the same length there, and where evaluation shows that the samples are independent:
    the outputs of the first sample alone are the first rows of the outputs of all.

    Args:
      plan: of the call with all samples.
      args, kwargs: of the call.
      evaluate: the evaluation, of such arguments.

    Raises:
      ExportError: the arguments have no such axis, or the samples are not independent.

    Source: docs/specification/onnx_export.md section 4.3, row batch.
    """
    cut_args, cut_kwargs = first_sample(plan, args, kwargs)
    if cut_args is args:
        return args, dict(kwargs)
    whole = next(np.shape(a)[0] for a in jax.tree.leaves((args, dict(kwargs))) if np.ndim(a))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LingerWarning)  # evaluation has said it before, or is going to
            same = _first_rows_alike(evaluate(*args, **kwargs), evaluate(*cut_args, **cut_kwargs), whole)
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"the device takes one sample, and the model does not run on the first of the {whole} given: {error}; "
            f"{_REMEDY}, and write the model for any number of samples"
        ) from error
    if not same:
        raise ExportError(
            f"the device takes one sample, and the {whole} rows of the example input are not independent samples "
            f"(row 0 alone gives other results); {_REMEDY}: x[None] if the first axis is no batch"
        )
    return cut_args, cut_kwargs


def first_sample(
    plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments cut as ``one_sample`` cuts them, without a look at the samples.

    Args:
      plan: of the call with all samples.
      args, kwargs: of the call; arrays may be ``jax.ShapeDtypeStruct``.

    Returns:
      ``args`` itself where nothing has to be cut.

    Raises:
      ExportError: the arguments have no such axis.
    """
    arrays = [leaf for leaf in jax.tree.leaves((args, dict(kwargs))) if np.ndim(leaf)]
    layers = [node.layer for node in plan.graph.nodes if node.layer is not None]
    if any(layer.kind.cell is not None and layer.attributes["time_major"] for layer in layers):
        if any(np.ndim(a) > 1 and np.shape(a)[1] != 1 for a in arrays):
            raise ExportError(f"the device takes one sample, and the time comes first in this model; {_REMEDY}")
        return args, dict(kwargs)
    sizes = sorted({np.shape(a)[0] for a in arrays})
    if sizes in ([], [1]):
        return args, dict(kwargs)
    if len(sizes) > 1:
        raise ExportError(f"the device takes one sample, and the arguments hold {sizes} rows; {_REMEDY}")
    cut_args, cut_kwargs = jax.tree.map(_first, (args, dict(kwargs)))
    return cut_args, cut_kwargs


def _first(leaf: Any) -> Any:
    if not np.ndim(leaf):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.update(shape=(1, *leaf.shape[1:]))
    return leaf[:1]


def _first_rows_alike(whole: Any, one: Any, size: int) -> bool:
    for all_rows, row in zip(jax.tree.leaves(whole), jax.tree.leaves(one), strict=True):
        if not np.ndim(row) or np.shape(all_rows)[0] != size or np.shape(row)[0] != 1:
            return False
        if not np.array_equal(on_host(all_rows)[:1], on_host(row)):
            return False
    return True

"""Running a PyTorch module and the Flax model it was imported into on the same input."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from linger_jax.converters.model import ModelCall
from linger_jax.typing import HostArray


def largest_difference(module: Any, call: ModelCall, variables: Mapping[str, Any]) -> tuple[float | None, str]:
    """Largest difference of the outputs, relative to the largest magnitude; or None, and why it is not known.

    The module runs in evaluation mode, in float32, and is left as it was. Several outputs are compared one by one.
    Arrays of rank four, and of rank three where that is what the module takes, are handed to it channels first.
    """
    import torch

    leaves = jax.tree.leaves((call.args, dict(call.kwargs)))
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        return None, "not compared: the example input has no values"
    inputs = [np.asarray(x) for x in call.args]
    wanted: list[HostArray] | None = None
    reason = ""
    was_training = module.training
    module.eval()
    floats = _in_float32(module)
    try:
        for images_of_three in (False, True):
            try:
                with torch.no_grad():
                    result = floats(*(torch.from_numpy(_channels_first(x, images_of_three)) for x in inputs))
                wanted = [leaf.detach().cpu().numpy() for leaf in jax.tree.leaves(result)]
                break
            except Exception as error:  # whatever the user's module raises
                what = f"{type(module).__name__} does not run on the example input ({_first_line(error)})"
                reason = reason or f"not compared: {what}"
    finally:
        module.train(was_training)
    if wanted is None:
        return None, reason
    results = call.model.apply(variables, *call.args, rngs=call.rngs, method=call.method, **call.kwargs)
    got = [np.asarray(leaf) for leaf in jax.tree.leaves(results)]
    differences = [_difference(*pair) for pair in zip(wanted, got, strict=False)]
    if len(wanted) != len(got) or None in differences:
        shapes = [", ".join(str(leaf.shape) for leaf in leaves) for leaves in (wanted, got)]
        return None, f"not compared: the outputs have shapes {shapes[0]} and {shapes[1]}"
    return max((d for d in differences if d is not None), default=0.0), ""


def _in_float32(module: Any) -> Any:
    """The module, or a copy of it whose parameters are as wide as those that were imported."""
    halves = any(p.is_floating_point() and str(p.dtype) != "torch.float32" for p in module.parameters())
    return copy.deepcopy(module).float() if halves else module


def _difference(wanted: HostArray, got: HostArray) -> float | None:
    forms = [wanted, *([np.moveaxis(wanted, 1, -1)] if wanted.ndim >= 3 else [])]
    fitting = [form for form in forms if form.shape == got.shape]
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    return min((float(np.abs(form - got).max(initial=0.0)) / scale for form in fitting), default=None)


def _channels_first(x: HostArray, images_of_three: bool) -> HostArray:
    x = x.astype(np.int64) if np.issubdtype(x.dtype, np.integer) else x
    is_image = x.ndim >= 4 or (x.ndim == 3 and images_of_three)
    return np.ascontiguousarray(np.moveaxis(x, -1, 1) if is_image else x)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__

"""Running a PyTorch module and the Flax model it was imported into on the same input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from converters.model_call import ModelCall

Array = np.ndarray[Any, Any]


def largest_difference(module: Any, call: ModelCall, variables: Mapping[str, Any]) -> tuple[float | None, str]:
    """Largest difference of the outputs, relative to the largest magnitude; or None, and why it is not known.

    The module runs in evaluation mode and is left in the mode it was in. Arrays of rank four, and of rank three where
    that is what the module takes, are handed to it channels first.
    """
    import torch

    leaves = jax.tree.leaves((call.args, dict(call.kwargs)))
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        return None, "not compared: the example input has no values"
    inputs = [np.asarray(x) for x in call.args]
    wanted = None
    was_training = module.training
    module.eval()
    try:
        for images_of_three in (False, True):
            try:
                with torch.no_grad():
                    result = module(*(torch.from_numpy(_channels_first(x, images_of_three)) for x in inputs))
                wanted = result.detach().cpu().numpy()
                break
            except Exception as error:  # whatever the user's module raises
                reason = (
                    f"not compared: {type(module).__name__} does not run on the example input ({_first_line(error)})"
                )
    finally:
        module.train(was_training)
    if wanted is None:
        return None, reason
    got = np.asarray(call.model.apply(variables, *call.args, rngs=call.rngs, method=call.method, **call.kwargs))
    forms = [wanted, *([np.moveaxis(wanted, 1, -1)] if wanted.ndim >= 3 else [])]
    fitting = [form for form in forms if form.shape == got.shape]
    if not fitting:
        return None, f"not compared: the outputs have shapes {wanted.shape} and {got.shape}"
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    return min(float(np.abs(form - got).max(initial=0.0)) / scale for form in fitting), ""


def _channels_first(x: Array, images_of_three: bool) -> Array:
    x = x.astype(np.int64) if np.issubdtype(x.dtype, np.integer) else x
    is_image = x.ndim >= 4 or (x.ndim == 3 and images_of_three)
    return np.ascontiguousarray(np.moveaxis(x, -1, 1) if is_image else x)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__

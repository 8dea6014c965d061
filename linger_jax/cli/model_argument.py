"""``--model package.module:Name`` and ``--input 1x3x32x32`` of the command line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from linger_jax.errors import LingerError

_DTYPES = {"float32": jnp.float32, "int32": jnp.int32}


def load_model(name: str) -> nn.Module:
    """The Flax module that ``package.module:Name`` names: an instance, or a class or function that makes one.

    Raises:
      LingerError: there is no such thing, or it is no Flax module.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise LingerError(f"--model {name}: write it as package.module:Name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise LingerError(f"--model {name}: cannot be imported ({error})") from error
    try:
        model = found if isinstance(found, nn.Module) else found()  # type: ignore[operator]
    except TypeError as error:
        raise LingerError(
            f"--model {name}: cannot be made without arguments ({error}); name a function that makes it"
        ) from error
    if not isinstance(model, nn.Module):
        raise LingerError(f"--model {name}: is a {type(model).__name__}, not a flax.linen Module")
    return model


def check_call(model: nn.Module, variables: Mapping[str, Any], inputs: tuple[Any, ...]) -> None:
    """Whether a model takes variables and inputs, before anything else is made of them.

    Args:
      model: the float model.
      variables: its own, or those of its quantized form.
      inputs: shapes, from ``example_input``.

    Raises:
      LingerError: it does not; the message is the model's own.
    """
    own = {name: entries for name, entries in variables.items() if name != "quant"}
    try:
        jax.eval_shape(model.apply, own, *inputs)
    except Exception as error:  # the user's code raises what it likes
        lines = str(error).strip().splitlines() or [type(error).__name__]
        shapes = ", ".join("x".join(map(str, entry.shape)) for entry in inputs)
        raise LingerError(
            f"{type(model).__name__} does not run with these variables on inputs of shape {shapes} (as Flax has them): "
            f"{lines[0]}"
        ) from error


def example_input(text: str, *, channels_last: bool) -> Any:
    """Shape and dtype of an input: ``1x3x32x32``, ``1x20:int32``.

    Args:
      text: the argument.
      channels_last: the shape is the Flax model's own; otherwise an image of rank four is PyTorch's, and turned;
        three axes may be [N, C, L] or [N, time, features], and stay.

    Raises:
      LingerError: no such shape or dtype.
    """
    sizes, _, dtype = text.partition(":")
    try:
        shape = [int(size) for size in sizes.lower().split("x")]
    except ValueError:
        shape = []
    if not shape or min(shape) < 1:
        raise LingerError(f"--input {text}: write a shape such as 1x3x32x32, or 1x20:int32 for indices")
    if dtype and dtype not in _DTYPES:
        raise LingerError(f"--input {text}: {dtype} is none of {', '.join(_DTYPES)}")
    if len(shape) == 4 and not channels_last:
        shape = [shape[0], *shape[2:], shape[1]]
    return jax.ShapeDtypeStruct(tuple(shape), _DTYPES[dtype or "float32"])

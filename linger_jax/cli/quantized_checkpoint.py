"""The trained state of a quantized model, from the files that users have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from linger_jax import converters
from linger_jax.api import QuantizedModel
from linger_jax.cli.variables_folder import is_variables_folder, read_variables, require_checkpoint_folder
from linger_jax.errors import LingerError
from linger_jax.quantizers import entry_problem
from linger_jax.staging import variable_paths

_COLLECTIONS = ("params", "quant")


def read_quantized(checkpoint: Path, qmodel: QuantizedModel, x: tuple[Any, ...]) -> Any:
    """Variables of a quantized model.

    Args:
      checkpoint: an orbax folder of its variables, or a linger checkpoint (``.pt``, ``.safetensors``).
      qmodel: the model.
      x: shapes of its inputs.

    Raises:
      LingerError: the checkpoint cannot be read, holds no quantizer state, or does not fit the model.
    """
    if not checkpoint.exists():
        raise LingerError(f"{checkpoint}: no such file or folder")
    require_checkpoint_folder(checkpoint)
    if is_variables_folder(checkpoint):
        variables = read_variables(checkpoint)
        _check_entries(checkpoint, variables)
    else:
        variables, _ = converters.load_linger_checkpoint(checkpoint, qmodel, None, x)
    missing = [name for name in _COLLECTIONS if not variables.get(name)]
    if missing == ["quant"]:
        raise LingerError(
            f"{checkpoint}: holds a float model, no scales (collection quant); calibrate and train it with "
            f"linger_jax.init, and save all that qmodel.init or qmodel.adopt returned"
        )
    if missing:
        raise LingerError(
            f"{checkpoint}: holds {', '.join(sorted(variables))}; save the variables of the model as they are, "
            f"{{'params': ..., 'quant': ...}}"
        )
    return variables


def _check_entries(checkpoint: Path, variables: Any) -> None:
    quant = variables.get("quant") if isinstance(variables, Mapping) else None
    for path, leaf in zip(variable_paths(quant or {}), jax.tree.leaves(quant or {}), strict=True):
        problem = entry_problem(path[-1], np.asarray(leaf))
        if problem is not None:
            raise LingerError(f"{checkpoint}: quant.{'.'.join(path)} {problem}")

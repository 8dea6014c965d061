"""The whole training state in one orbax checkpoint: parameters, optimizer, batch statistics and quantizers."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from linger_jax.cli.demo.training import TrainState
from linger_jax.cli.variables_folder import write_checkpoint
from linger_jax.errors import LingerError


def save_training_state(path: Path, state: TrainState) -> None:
    """Write a checkpoint.

    Args:
      path: a folder; one that exists is replaced when the new one is whole.
      state: what to keep.

    Raises:
      FileError: it cannot be written.
    """
    write_checkpoint(path, state, replace=True)


def restore_training_state(path: Path, like: TrainState) -> TrainState:
    """Read a checkpoint.

    Args:
      path: the folder.
      like: a state of the same structure; its values are not read.
    """
    shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    with ocp.StandardCheckpointer() as checkpointer:
        restored: TrainState = checkpointer.restore(path.absolute(), shapes)
    return restored


def require_equal(restored: TrainState, saved: TrainState, path: Path) -> None:
    """Check that a checkpoint came back bit for bit.

    Raises:
      LingerError: it did not; the message names the entries.
    """
    named, _ = jax.tree_util.tree_flatten_with_path(saved)
    different = [
        jax.tree_util.keystr(entry)
        for (entry, before), after in zip(named, jax.tree.leaves(restored), strict=True)
        if not bool(jnp.array_equal(before, after))
    ]
    if different:
        raise LingerError(f"{path}: these entries of the checkpoint changed on the way: {', '.join(different)}")

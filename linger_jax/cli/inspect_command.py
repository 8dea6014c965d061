"""``linger-jax inspect``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np

WIDTH = 160
"""Of a table that is printed to a file."""
_BLOCKS = " ▁▂▃▄▅▆▇█"
_BINS = 16


def inspect(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .pt or .safetensors file, a folder of shards, or a folder that convert wrote.")
    ],
) -> None:
    """List the tensors of a checkpoint: shape, dtype, range, mean, spread, and the shape of the distribution."""
    import numpy as np
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(str(checkpoint)))
    for column in ("tensor", "shape", "dtype"):
        table.add_column(column, overflow="fold")
    for column in ("least", "largest", "mean", "deviation"):
        table.add_column(column, justify="right")
    table.add_column("distribution", no_wrap=True)
    count = 0
    with Console(stderr=True).status(f"reading {checkpoint}"):
        for key, array, dtype in _tensors(checkpoint):
            count += array.size
            cells = (key, "x".join(map(str, array.shape)) or "scalar", dtype)
            table.add_row(*(escape(cell) for cell in cells), *_numbers(np.asarray(array)), sparkline(array))
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(table)
    console.print(f"{table.row_count} tensors, {count:,} numbers", highlight=False)


def sparkline(array: Any) -> str:
    """A histogram in one line of block characters; empty for one number, or where no number is finite."""
    import numpy as np

    values = np.asarray(array, np.float64).ravel()
    values = values[np.isfinite(values)]
    if values.size < 2 or values.min() == values.max():
        return ""
    counts, _ = np.histogram(values, _BINS)
    levels = np.ceil(counts / counts.max() * (len(_BLOCKS) - 1)).astype(int)
    return "".join(_BLOCKS[level] for level in levels)


def _numbers(array: np.ndarray[Any, Any]) -> list[str]:
    import numpy as np

    if array.size == 0:
        return ["", "", "", ""]
    values = array.astype(np.float64)
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        return [f"[red]{bad} not finite[/]", "", "", ""]
    return [f"{number:.4g}" for number in (values.min(), values.max(), values.mean(), values.std())]


def _tensors(path: Path) -> Iterator[tuple[str, Any, str]]:
    import jax
    import numpy as np

    from linger_jax.cli.variables_folder import is_variables_folder, read_variables, require_checkpoint_folder
    from linger_jax.converters.files import read_state
    from linger_jax.staging import variable_paths

    require_checkpoint_folder(path)
    if is_variables_folder(path):
        tree = read_variables(path)
        for names, leaf in zip(variable_paths(tree), jax.tree.leaves(tree), strict=True):
            yield ".".join(names), np.asarray(leaf), str(leaf.dtype)
        return
    state = read_state(path, counters=True)
    for key, tensor in state.tensors.items():
        yield key, state.raw(key), str(tensor.dtype).removeprefix("torch.")

"""What became of every tensor of an imported checkpoint."""

from __future__ import annotations

import dataclasses
import io
import os
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linger_jax.converters.files import NormalisedWeight, Part, save_names

# Begins the reason for which a second name of a tensor was dropped; the first name follows.
TIED = "the same tensor as "


@dataclasses.dataclass(frozen=True)
class ImportRow:
    """One tensor that went into the model.

    Attributes:
      key: in the checkpoint.
      path: dotted path of the variable, collection first; of a scanned layer with the iteration, ``...kernel[3]``.
      torch_shape, flax_shape: before and after.
      transform: what was done to it, in words.
      how: matched by ``mapping``, ``name`` or ``order``.
      dtype: in the checkpoint, where it was not float32.
      plus: key of a tensor that was added to this one.
      module, layer: prefix of the PyTorch module and path of the layer that were paired as a whole.
    """

    key: str
    path: str
    torch_shape: tuple[int, ...]
    flax_shape: tuple[int, ...]
    transform: str
    how: Literal["mapping", "name", "order"]
    dtype: str | None = None
    plus: str | None = None
    module: str | None = None
    layer: str | None = None


@dataclasses.dataclass(frozen=True)
class ImportReport:
    """Says where every tensor went; prints as a table.

    Attributes:
      source: the file, or what was passed.
      rows: the tensors that were imported, in the order of the checkpoint.
      dropped: keys that hold no weights of the model, with the reason.
      prefixes: prefixes that were removed from the keys.
      unexpected: keys that nothing took (``strict=False`` only).
      parts: keys that are parts of tensors of the checkpoint, or other names (attention's packed projections).
      normalised: weights that the checkpoint has in two factors (``weight_norm``), by the key of the whole.
      largest_difference: between the outputs of the PyTorch module and of the model, relative to the largest magnitude,
        where a live module was imported.
      remark: why there is none, or that nothing was imported (``dry_run``).
      missing: variables that kept their own value (``strict=False``, and collections that PyTorch does not have).
    """

    source: str
    rows: tuple[ImportRow, ...]
    dropped: tuple[tuple[str, str], ...] = ()
    prefixes: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    normalised: Mapping[str, NormalisedWeight] = dataclasses.field(default_factory=dict)
    largest_difference: float | None = None
    remark: str = ""

    @property
    def widened(self) -> tuple[tuple[str, str], ...]:
        """Keys that were not float32, with their dtype."""
        return tuple((row.key, row.dtype) for row in self.rows if row.dtype is not None)

    @property
    def tied(self) -> Mapping[str, str]:
        """Keys that were another name of an imported tensor, with the name it was imported by."""
        return {key: reason.removeprefix(TIED) for key, reason in self.dropped if reason.startswith(TIED)}

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Keys of what linger leaves in the place of a normalization that was fused into its convolution."""
        return tuple(key for key, _ in self.dropped if key.rpartition(".")[2] == "_linger_ignore_parameter")

    @property
    def mapping(self) -> Mapping[str, str]:
        """The pairs that were found, to pass as ``mapping`` another time."""
        often = Counter(row.key for row in self.rows)
        # A matrix of all gates goes into several variables: its module is named instead.
        whole = {row.module for row in self.rows if often[row.key] > 1 or row.plus is not None}
        pairs = {}
        for row in self.rows:
            if row.module is not None and row.module in whole and row.layer is not None:
                pairs[row.module] = row.layer
            else:
                pairs[row.key] = row.path
        return pairs

    def save_mapping(self, path: str | os.PathLike[str]) -> None:
        """Writes ``mapping`` as YAML, to pass as ``mapping`` another time."""
        save_names(self.mapping, path)

    @property
    def summary(self) -> str:
        """Counts, in one line."""
        matched = Counter(row.how for row in self.rows)
        how = ", ".join(f"{matched[name]} by {name}" for name in ("mapping", "name", "order") if matched[name])
        parts = [f"{len(self.rows)} tensors imported" + (f" ({how})" if how else "")]
        parts += [f"{len(self.dropped)} dropped"] if self.dropped else []
        kinds = Counter(dtype for _, dtype in self.widened)
        parts += [f"{count} converted from {dtype}" for dtype, count in sorted(kinds.items())]
        parts += [f"prefix {' and '.join(self.prefixes)} removed"] if self.prefixes else []
        parts += [f"{len(self.unexpected)} unexpected keys left out"] if self.unexpected else []
        parts += [f"{len(self.missing)} variables kept"] if self.missing else []
        if self.largest_difference is not None:
            parts.append(f"largest difference of the outputs {self.largest_difference:.1e}")
        parts += [self.remark] if self.remark else []
        return "; ".join(parts)

    def table(self) -> Table:
        """The table for ``rich``."""
        table = Table(title=escape(self.source), caption=escape(self.summary), caption_justify="left")
        for column in ("torch key", "shape", "Flax path", "shape", "transform", "by"):
            table.add_column(column, overflow="fold")
        for row in self.rows:
            transform = row.transform if row.dtype is None else f"{row.transform}, from {row.dtype}"
            cells = (row.key, _dims(row.torch_shape), row.path, _dims(row.flax_shape), transform, row.how)
            table.add_row(*(escape(cell) for cell in cells))
        for key, reason in self.dropped:
            table.add_row(escape(key), "", "-", "", escape(f"dropped: {reason}"), "", style="dim")
        for key in self.unexpected:
            table.add_row(escape(key), "", "-", "", "left out: nothing takes it", "", style="yellow")
        for path in self.missing:
            table.add_row("-", "", escape(path), "", "kept: not in the checkpoint", "", style="yellow")
        return table

    def __str__(self) -> str:
        console = Console(width=140, record=True, file=io.StringIO(), color_system=None)
        console.print(self.table())
        return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def _dims(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"

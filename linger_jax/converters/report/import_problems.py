"""Everything that keeps a checkpoint from being imported, collected and told in one error."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence

from linger_jax.converters.report.folded_name import folded_name
from linger_jax.errors import ConversionError
from linger_jax.typing import Shape

_MOST_LINES = 40
_MOST_COMPARED = 1000
"""Names that are compared with one that nothing has."""

_QUANTIZER = "state of a quantizer, from quantization-aware training: import it by load_linger_checkpoint"
# Keys that say what kind of module they belong to, where that kind is not imported.
_HINTS = {
    "bias_k": "torch.nn.MultiheadAttention with add_bias_kv has no counterpart in Flax",
    "bias_v": "torch.nn.MultiheadAttention with add_bias_kv has no counterpart in Flax",
    "weight_hr_l0": "an LSTM with projections: the chips have none",
    "weight_orig": "a parametrised weight: remove the parametrisation before saving",
    "original": "a parametrised weight: call torch.nn.utils.parametrize.remove_parametrizations before saving",
    "original0": "a parametrised weight: call torch.nn.utils.parametrize.remove_parametrizations before saving",
    "running_data": _QUANTIZER,
    "learning_data": _QUANTIZER,
    "is_calibrate": _QUANTIZER,
}


@dataclasses.dataclass
class ImportProblems:
    """Collects problems; ``raise_if_any`` tells them all.

    Attributes:
      source: name of the checkpoint.
      model: name of the model.
      quantized: the model has quantizers, so that their entries are no surprise.
      exporting: the model is written as a state dict instead.
    """

    source: str
    model: str
    quantized: bool = False
    exporting: bool = False
    conflicts: list[str] = dataclasses.field(default_factory=list)
    ambiguous: list[str] = dataclasses.field(default_factory=list)
    missing: list[tuple[str, Shape, str]] = dataclasses.field(default_factory=list)
    unexpected: list[tuple[str, Shape]] = dataclasses.field(default_factory=list)
    texts: list[str] = dataclasses.field(default_factory=list)

    def add_text(self, text: str) -> None:
        """Anything that is none of the lists."""
        self.texts.append(text)

    def add_conflict(self, key: str, shape: Shape, path: str, wanted: Shape, flax_shape: Shape) -> None:
        """A tensor of the wrong shape: its key and shape, the variable, the shapes that this one asks for."""
        self.conflicts.append(
            f"{key} {list(shape)} does not fit {path} {list(flax_shape)}, which takes {list(wanted)} from PyTorch"
        )

    def add_ambiguous(self, left: Sequence[tuple[str, str]], right: Sequence[tuple[str, str]]) -> None:
        """Candidates side by side: name and shape of the modules (file order) and of the layers (execution order)."""
        rows = [("PyTorch, in file order", "", "Flax, in order of execution", "")]
        for i in range(max(len(left), len(right))):
            a, b = (side[i] if i < len(side) else ("", "") for side in (left, right))
            rows.append((*a, *b))
        shown = rows[: _MOST_LINES + 1]
        widths = [max(len(row[i]) for row in shown) for i in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
        ]
        if len(rows) > len(shown):
            lines.append(f"... and {len(rows) - len(shown)} more")
        self.ambiguous += lines

    def raise_if_any(self) -> None:
        """Raises a ConversionError that lists everything, if there is anything."""
        sections = [self._plain(), self._conflicts(), self._ambiguous(), self._missing(), self._unexpected()]
        told = [section for section in sections if section]
        if told:
            what = f"{self.source} cannot be imported into {self.model}:"
            what = f"{self.model} cannot be written as a PyTorch state dict:" if self.exporting else what
            raise ConversionError("\n".join([what, *told]))

    def _plain(self) -> str:
        shown = [f"  {text}" for text in self.texts[:_MOST_LINES]]
        more = len(self.texts) - len(shown)
        return "\n".join([*shown, *([f"  ... and {more} more"] if more else [])])

    def _conflicts(self) -> str:
        return _section("shape conflicts", self.conflicts)

    def _ambiguous(self) -> str:
        title = "ambiguous: these fit together in more than one way; say which by mapping={'torch name': 'flax name'}"
        return _section(title, self.ambiguous, limit=None)

    def _missing(self) -> str:
        keys = [key for key, _ in self.unexpected]
        lines = []
        for path, shape, reason in self.missing[:_MOST_LINES]:
            near = _near(path, keys)
            text = f"{path} {list(shape)}" + (f": {reason}" if reason else "")
            lines.append(text + (f"; nearest key: {near}" if near else ""))
        return _section("missing in the checkpoint", lines, more=len(self.missing) - len(lines))

    def _unexpected(self) -> str:
        paths = [path for path, _, _ in self.missing]
        lines = []
        for key, shape in self.unexpected[:_MOST_LINES]:  # the nearest name of each is looked for
            hint, near = _HINTS.get(key.rpartition(".")[2]), _near(key, paths)
            hint = None if self.quantized and hint == _QUANTIZER else hint
            tail = f": {hint}" if hint else f"; nearest variable: {near}" if near else ""
            lines.append(f"{key} {list(shape)}{tail}")
        return _section("unexpected in the checkpoint", lines, more=len(self.unexpected) - len(lines))


def _section(title: str, lines: Sequence[str], limit: int | None = _MOST_LINES, more: int = 0) -> str:
    """A title and lines below it, as many as the limit; ``more`` are not among them."""
    if not lines:
        return ""
    shown = list(lines[:limit])
    more += len(lines) - len(shown)
    if more:
        shown.append(f"... and {more} more")
    return "\n".join([f"  {title}:", *(f"    {line}" for line in shown)])


_TORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


def _near(name: str, candidates: Sequence[str]) -> str | None:
    """The candidate that is most like ``name`` once both speak of variables in PyTorch's words."""
    by_form = {_form(candidate): candidate for candidate in candidates[:_MOST_COMPARED]}
    found = difflib.get_close_matches(_form(name), by_form, n=1, cutoff=0.6)
    return by_form[found[0]] if found else None


def _form(name: str) -> str:
    head, _, leaf = name.rpartition(".")
    head = head.removeprefix("params.").removeprefix("batch_stats.")
    return folded_name(head) + "." + _TORCH_LEAVES.get(leaf, leaf)

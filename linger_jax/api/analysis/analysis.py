"""The result of ``linger_jax.analyse``: a table, the worst rows, and the same as JSON, HTML and plain numbers."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from linger_jax.api.analysis.metric import Metric
from linger_jax.api.analysis.node_analysis import Error, NodeAnalysis
from linger_jax.plan import as_text

_COLUMNS = (
    "name",
    "operator",
    "SQNR dB",
    "alone dB",
    "cosine",
    "largest error",
    "clipped",
    "bits",
    "exponent",
    "finding",
)


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What quantization does to each layer and operator, the worst first.

    Attributes:
      rows: one for each layer and operator that was measured (for each iteration of a loop over stacked layers).
      output: the model's output, quantized against float; None where it holds no real numbers.
      batches: how many there were.
      metric: the user's, or None.
      not_measured: name and operator of the plan's rows that have no values (in branches, for example).
    """

    rows: tuple[NodeAnalysis, ...]
    output: Error | None
    batches: int
    metric: Metric | None = None
    not_measured: tuple[str, ...] = ()

    @property
    def worst(self) -> tuple[NodeAnalysis, ...]:
        """The rows with a finding and its remedy, the worst first."""
        return tuple(row for row in self.rows if row.finding)

    def __str__(self) -> str:
        table = Table(title=self._title(), caption=escape("\n".join(self._lines())))
        for column in _COLUMNS:
            table.add_column(column, overflow="fold")
        for row in self.rows:
            table.add_row(*(escape(cell) for cell in _cells(row)))
        return as_text(table)

    def to_json(self) -> str:
        """All rows and numbers as JSON; numbers that JSON has not (infinite: no error at all) are null."""
        return json.dumps(_jsonable(dataclasses.asdict(self)), allow_nan=False)

    def scalars(self) -> dict[str, float]:
        """Finite numbers by name, as TensorBoard or Weights & Biases take them: ``layer/<name>/sqnr_db``."""
        named = {} if self.output is None else {f"output/{name}": value for name, value in _numbers(self.output)}
        if self.metric is not None:
            named |= {"metric/float": self.metric.of_float, "metric/quantized": self.metric.of_quantized}
        for row in sorted(self.rows, key=lambda row: row.order):
            name = _free_name(f"layer/{row.label}", named)
            values: list[tuple[str, float | None]] = [*_numbers(row.accumulated)]
            values += ((f"alone_{what}", value) for what, value in _numbers(row.alone))
            values += [("clipped", row.clipped), ("bits_used", row.bits_used), ("severity", row.severity)]
            named |= {f"{name}/{what}": float(value) for what, value in values if value is not None}
        return {name: value for name, value in named.items() if math.isfinite(value)}

    def _title(self) -> str:
        return f"linger_jax analysis of {self.batches} batch{'' if self.batches == 1 else 'es'}"

    def _lines(self) -> Iterator[str]:
        if self.output is not None:
            yield f"output: {_decibels(self.output.sqnr_db)} dB, cosine {self.output.cosine:.6f}"
        if self.metric is not None:
            yield f"metric: float {self.metric.of_float:g}, quantized {self.metric.of_quantized:g}"
        for row in self.worst:
            yield f"{row.label}: {row.finding}. Remedy: {row.remedy}"
        if self.not_measured:
            yield f"without values of their own: {', '.join(self.not_measured)}"

    def _repr_html_(self) -> str:
        """A table for notebooks: no script, no style sheet, nothing from the network."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in _COLUMNS)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in self.rows
        )
        lines = "<br>".join(html.escape(line) for line in self._lines())
        title = html.escape(self._title())
        table = f"<caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        return f"<table>{table}</table><p>{lines}</p>"


def _cells(row: NodeAnalysis) -> Sequence[str]:
    quantized = row.status == "quantized"
    exponents = row.exponents
    if exponents is None:
        exponent = ""
    else:
        exponent = str(exponents[0]) + (f" (best {exponents[1]})" if exponents[0] != exponents[1] else "")
    used = "" if row.bits is None else str(row.bits)
    if row.bits is not None and row.bits_used is not None:
        used = f"{min(row.bits_used, row.bits):.1f} of {row.bits}"
    return (
        row.label,
        row.op,
        _decibels(row.accumulated.sqnr_db),
        _decibels(row.alone.sqnr_db) if quantized else row.status,
        f"{row.accumulated.cosine:.5f}",
        f"{row.accumulated.largest:.3g}",
        "" if row.clipped is None else f"{100 * row.clipped:.2g} %",
        used,
        exponent,
        f"{row.finding}: {row.remedy}" if row.finding else "",
    )


def _decibels(value: float) -> str:
    return "exact" if value == math.inf else f"{value:.1f}"


def _numbers(error: Error) -> Iterator[tuple[str, float]]:
    yield from ((field.name, getattr(error, field.name)) for field in dataclasses.fields(error))


def _free_name(name: str, taken: dict[str, float]) -> str:
    """The name, with a number where a layer is called again."""
    number, free = 1, name
    while f"{free}/cosine" in taken:
        number += 1
        free = f"{name}#{number}"
    return free


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

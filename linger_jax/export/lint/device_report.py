"""``DeviceReport``: all findings of a file, and what to tell the packer."""

from __future__ import annotations

import dataclasses
import functools
import io
import operator
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from linger_jax.config import Platform
from linger_jax.export.lint.finding import Finding, Severity
from linger_jax.export.lint.pack_options import NO_OPTIONS, PackOptions

_COLOURS: Mapping[Severity, str] = {Severity.refuse: "red", Severity.differs: "magenta", Severity.note: "cyan"}
_WIDTH = 160


@dataclasses.dataclass(frozen=True)
class DeviceReport:
    """What the packer and the executor will make of a file.

    Attributes:
      platform: the target chip.
      findings: in the order of the file's nodes, those of the whole file first.
    """

    platform: Platform
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether the device computes the file's integers, given ``pack_options``."""
        return not self.blocking

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """Findings that keep the device from computing the file's integers."""
        return tuple(f for f in self.findings if f.blocks)

    @property
    def edits(self) -> tuple[str, ...]:
        """Rewrites that export with the dialect ``thinker`` does and this file lacks."""
        return tuple(sorted({f.edit for f in self.findings if f.edit}))

    @property
    def options(self) -> PackOptions:
        """Everything to tell the packer."""
        return functools.reduce(operator.or_, (f.options for f in self.findings), NO_OPTIONS)

    @property
    def pack_options(self) -> list[str]:
        """Arguments for ``tpacker``, besides file and platform."""
        return self.options.arguments()

    def as_dict(self) -> dict[str, Any]:
        """The report in plain types, for JSON."""
        return {
            "platform": self.platform.value,
            "ok": self.ok,
            "pack_options": self.pack_options,
            "findings": [
                {
                    "check": f.check,
                    "severity": f.severity.value,
                    "node": f.node,
                    "op": f.op,
                    "layer": f.layer,
                    "found": f.found,
                    "limit": f.limit,
                    "remedy": f.remedy,
                    "edit": f.edit,
                    "options": f.options.arguments(),
                }
                for f in self.findings
            ],
        }

    def table(self) -> Table:
        """The findings, for ``rich``."""
        table = Table(title=f"device lint for {self.platform.value}", show_lines=True)
        for column in ("", "layer or node", "check", "found", "allowed", "what to do"):
            table.add_column(column, overflow="fold")
        for f in self.findings:
            cells = (f.place, f.check, f.found, f.limit, f.remedy)
            table.add_row(Text(f.severity.value, _COLOURS[f.severity]), *(escape(cell) for cell in cells))
        return table

    def summary(self) -> str:
        """One line."""
        counts = {s: sum(f.severity is s for f in self.findings) for s in Severity}
        told = ", ".join(f"{count} {s.value}" for s, count in counts.items() if count) or "no findings"
        verdict = "runs on" if self.ok else "does not run on"
        options = f"; packer options: {self.options}" if self.ok and self.options else ""
        return f"{verdict} {self.platform.value} as it is: {told}{options}"

    def __str__(self) -> str:
        if not self.findings:
            return self.summary()
        text = io.StringIO()
        Console(file=text, width=_WIDTH, no_color=True).print(self.table())
        return f"{text.getvalue()}{self.summary()}"

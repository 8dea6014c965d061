"""The page of the matrix."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping

from linger_jax.config import Platform
from linger_jax.targets import target_of
from tests.support_matrix.evidence import kept_cases, measured_platforms
from tests.support_matrix.operators import ROWS_OF_MATRIX, Row
from tests.support_matrix.verdict import Stage, Verdict, verdict


def _how_far(platform: Platform) -> int:
    """Chips with an executor first, then those that the packer knows, then the others."""
    device = target_of(platform).device
    return 2 if device is None else 0 if device.executor.measured else 1


COLUMNS = tuple(sorted(Platform, key=_how_far))
Matrix = Mapping[Row, Mapping[Platform, Verdict]]

_HEAD = """# Support matrix

How far an operator comes on a platform. `python -m tests.support_matrix` makes this page: it plans, exports (dialect
`thinker`) and checks a small model for each row; a test keeps it up to date.
"""
_LEGEND = {
    Stage.equal: "trains, exports, packs, and the chip's executor computes the same integers.",
    Stage.depends: "so for some scales alone; [the reasons](#why-not-further) say for which.",
    Stage.packs: "the packer takes the file, but the executor computes other integers, crashes, or was not measured.",
    Stage.exports: "`OnnxRunner` runs the file, the packer refuses it.",
    Stage.trains: "training and evaluation are exact, there is no operator for a file.",
    Stage.nothing: "runs as float, or is beyond the chip's limits.",
}
_OPTIONS = """
`*`: with packer options, which `linger-jax check` names and `linger-jax pack` passes. Whether tensors fit the memory of
the device depends on their sizes, and is part of the same check.
"""
_REASONS = """
## Why not further
"""
_MEASURED = """
## What was measured

Verdicts of the vendor's packer and executors on files that linger 3.0.9 wrote; "equal" with options and edits included,
"differs" with crashes. Files of several operators count for each.
"""


def matrix() -> Matrix:
    """Every verdict."""
    return {row: {platform: verdict(row, platform) for platform in COLUMNS} for row in ROWS_OF_MATRIX}


def page(found: Matrix) -> str:
    """Markdown."""
    seen = {one.stage for of in found.values() for one in of.values()}
    legend = "\n".join(f"* **{stage}**: {meaning}" for stage, meaning in _LEGEND.items() if stage in seen)
    parts = [_HEAD, legend, _OPTIONS]
    for section, rows in itertools.groupby(found, key=lambda row: row.section):
        parts.append(_table(section, {row.name: [_cell(found[row][p]) for p in COLUMNS] for row in rows}, COLUMNS))
    parts += [_REASONS, _reasons(found), _MEASURED, _measured()]
    return "\n".join(parts)


def _cell(found: Verdict) -> str:
    return f"{found.stage}{'*' if found.options else ''}"


def _table(title: str, rows: Mapping[str, list[str]], columns: tuple[Platform, ...]) -> str:
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join(lines) + "\n"


def _reasons(found: Matrix) -> str:
    """Each reason once, with the rows and platforms that it holds for."""
    held: dict[str, dict[str, list[str]]] = {}
    for row, verdicts in found.items():
        for platform, one in verdicts.items():
            for reason in one.reasons:
                held.setdefault(reason, {}).setdefault(row.name, []).append(platform)
    lines = []
    for reason, rows in held.items():
        by_platforms: dict[str, list[str]] = {}
        for name, names in rows.items():
            by_platforms.setdefault(", ".join(names), []).append(name)
        places = " / ".join(
            f"{names}: {'; '.join(of) if len(of) < len(found) // 3 else 'everything else'}"
            for names, of in by_platforms.items()
        )
        lines.append(f"* {reason.rstrip('.')}. *{places}*")
    return "\n".join(lines) + "\n"


def _measured() -> str:
    counts: dict[str, dict[Platform, Counter[str]]] = {}
    columns = tuple(platform for platform in COLUMNS if platform in measured_platforms())
    for case in kept_cases():
        for operator in case.operators:
            word = {"equal": "equal", "REJECTED by packer": "refused"}.get(case.verdict, "differs")
            counts.setdefault(operator, {}).setdefault(case.platform, Counter())[word] += 1
    rows = {}
    for operator in sorted(set(counts) - {"Quant", "Dequant"}):
        of = [counts[operator].get(platform, Counter()) for platform in columns]
        rows[f"`{operator}`"] = [", ".join(f"{n} {word}" for word, n in sorted(c.items())) for c in of]
    return _table("operator", rows, columns)

"""Evaluates a case in several ways and says which of them gave the same."""

from __future__ import annotations

import dataclasses
import functools
import re
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from linger_jax.config import Compat
from linger_jax.errors import LingerError
from tests.equality.by_hand import HasNoSecondReadingError
from tests.equality.drawn.case import Case
from tests.equality.drawn.configurations import widest
from tests.equality.ways import EVALUATIONS, GRADIENTS, HOLD_FOR_FLOATS, INTEGER_WAYS, Arrays, alike, as_arrays, near

MAKING = "making it"
"""In the place of a way: what happens before the first one."""

_WIDTH_OF_EXACT_SUMS = 8
"""Of operands whose products, as many as a drawn model adds, float32 sums exactly: ``compat: reference`` adds in it."""
_TERMS_OF_A_NORM = 4.0
"""A row of equal values has no gradient behind a LayerNorm: terms of 1/sqrt(1e-5) cancel, up to their rounding."""
_NUMBERS = re.compile(r"'[^']*'|\"[^\"]*\"|<[^>]*>|\b\S*\d\S*|\[[^\]]*\]|\([^)]*\)")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of a case.

    Attributes:
      groups: ways that gave the same stand together; the first group is that of the reference.
      refused: way -> why, in a few words that do not hang on names and numbers.
      failed: way -> an exception that is no refusal, likewise; ``not finite`` for gradients.
      messages: way -> the whole message of what stands in ``refused`` or ``failed``.
    """

    groups: tuple[tuple[str, ...], ...]
    refused: Mapping[str, str]
    failed: Mapping[str, str]
    messages: Mapping[str, str]

    @property
    def differs(self) -> bool:
        """Whether two ways gave different numbers."""
        return any(len(groups) > 1 for groups in _by_reference(self.groups))

    @property
    def differing(self) -> tuple[str, ...]:
        """Ways that did not give what the reference gave."""
        return tuple(way for groups in _by_reference(self.groups) for group in groups[1:] for way in group)

    @property
    def outcome(self) -> str:
        """``differs``, ``failed``, ``refused`` or ``equal``: the first that holds of any way."""
        return "differs" if self.differs else "failed" if self.failed else "refused" if self.refused else "equal"

    @property
    def sides(self) -> str:
        """The groups in words."""
        several = (groups for groups in _by_reference(self.groups) if len(groups) > 1)
        return "; ".join(" | ".join(", ".join(group) for group in groups) for groups in several)

    def alike(self, other: Verdict) -> bool:
        """Whether another verdict is about the same fault."""
        if self.differs:
            return bool({*self.differing} & {*other.differing})
        return any(other.failed.get(way) == why for way, why in self.failed.items())


def _by_reference(groups: tuple[tuple[str, ...], ...]) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Evaluations and gradients apart."""
    gradients = tuple(group for group in groups if group[0] in GRADIENTS)
    return tuple(group for group in groups if group[0] not in GRADIENTS), gradients


def judge(case: Case, ways: Collection[str]) -> Verdict:
    """Makes the case and evaluates it.

    Args:
      case: what to evaluate.
      ways: names of them; the references ``apply`` and ``slopes`` come along where they are needed.
    """
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")
        return _judged(case, ways)


def made(case: Case) -> dict[str, Any]:
    """``qmodel``, ``variables`` and ``inputs`` of the case's program, among its other names."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(case.program(), "<case>", "exec"), names)
    return names


def _judged(case: Case, ways: Collection[str]) -> Verdict:
    refused: dict[str, str] = {}
    failed: dict[str, str] = {}
    messages: dict[str, str] = {}

    def note(way: str, error: Exception) -> None:
        where = refused if isinstance(error, LingerError) else failed
        where[way] = reason(error)
        messages[way] = str(error)

    try:
        names = made(case)
        arguments = names["qmodel"], names["variables"], names["inputs"]
        rows = names["qmodel"].plan(names["variables"], *names["inputs"], verdict=False).rows()
        floats = any(row.status in ("float", "disabled") for row in rows)
        cancelled = _TERMS_OF_A_NORM if any("Norm" in row.op for row in rows) else 0.0
    except Exception as error:
        note(MAKING, error)
        return Verdict((), refused, failed, messages)
    as_reference = case.configuration.get("compat") == Compat.reference.value
    sums_leave_float32 = as_reference and widest(case.configuration) > _WIDTH_OF_EXACT_SUMS
    ways = {"msgpack", *ways} & {*HOLD_FOR_FLOATS} if floats or sums_leave_float32 else {*ways}
    if as_reference:
        ways -= {*INTEGER_WAYS}
    groups: list[tuple[list[str], Arrays]] = []
    for table in (EVALUATIONS, GRADIENTS):
        asked = [way for way in table if way in ways]
        reference = next(iter(table))
        own: list[tuple[list[str], Arrays]] = []
        for way in dict.fromkeys((reference, *asked)) if asked else ():
            try:
                found = as_arrays(table[way](*arguments))
            except HasNoSecondReadingError:
                continue
            except Exception as error:
                note(way, error)
                if way == reference:
                    break
                continue
            if way == "slopes" and case.tame and not all(np.isfinite(array).all() for array in found):
                failed[way] = messages[way] = "not finite"
            same = functools.partial(near, cancelled=cancelled) if table is GRADIENTS else alike
            own_group = next((group for group, arrays in own if same(found, arrays)), None)
            if own_group is None:
                own.append(([way], found))
            else:
                own_group.append(way)
        groups += own
    return Verdict(tuple(tuple(group) for group, _ in groups), refused, failed, messages)


def reason(error: Exception) -> str:
    """A message without what hangs on one model: names, numbers, places."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0] if lines else ""
    words = _NUMBERS.sub("_", line)
    return f"{type(error).__name__}: {re.sub(r'(_[ ,.:]*)+', '_ ', words)[:90].strip()}"

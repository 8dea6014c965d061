"""Finds the name that was probably meant, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_name(word: str, candidates: Iterable[str]) -> str | None:
    """Returns the candidate most like ``word``, or None where none is alike.

    Upper and lower case count as the same letter, so ``venusa`` finds ``venusA`` before ``venus``.
    """
    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None

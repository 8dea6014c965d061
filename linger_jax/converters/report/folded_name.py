"""Names that are the same but for the way the two frameworks write them."""

from __future__ import annotations

import re


def folded_name(name: str) -> str:
    """A dotted name without what the two frameworks write differently."""
    return re.sub(r"[._/]", "", name).casefold()

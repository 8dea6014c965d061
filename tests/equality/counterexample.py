"""A case that went wrong as a program that shows it."""

from __future__ import annotations

import inspect

from tests.equality.drawn.case import Case
from tests.equality.judging import MAKING, Verdict
from tests.equality.ways import EVALUATIONS, GRADIENTS, slopes

_ALL = {**EVALUATIONS, **GRADIENTS}
_MODULES = {
    "tempfile.": "import tempfile\n",
    "flax.serialization": "import flax.serialization\n",
    "tests.equality.by_hand": "import tests.equality.by_hand\n",
}
_PATH = "from pathlib import Path\n"


def program(case: Case, verdict: Verdict) -> str:
    """Makes the case, evaluates it in two ways that differ (or in the one that fails) and prints both."""
    shown = ways_at_fault(verdict)
    sources = {way: inspect.getsource(_ALL[way]) for way in shown}
    if "remat_slopes" in shown or "slopes_op_by_op" in shown:
        sources = {"slopes": inspect.getsource(slopes), **sources}
    body = "\n\n".join(sources.values())
    imports = "".join(text for word, text in _MODULES.items() if word in body) + (_PATH if "Path(" in body else "")
    calls = "".join(f"print({way}(qmodel, variables, inputs))\n" for way in shown)
    return imports + case.program() + (f"\n\n{body}\n\n{calls}" if calls else "")


def ways_at_fault(verdict: Verdict) -> tuple[str, ...]:
    """The reference and one way that differs from it, or one that failed."""
    if verdict.differs:
        way = verdict.differing[0]
        return ("slopes" if way in GRADIENTS else "apply", way)
    return tuple(way for way in verdict.failed if way != MAKING)[:1]

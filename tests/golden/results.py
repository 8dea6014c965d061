"""Comparing all results of one layer with its file."""

from __future__ import annotations

import numpy as np

from tests.golden.case import Case
from tests.golden.models import torch_layout as layout
from tests.golden.tolerances import judge_of

Results = dict[str, np.ndarray]


def compare_all(case: Case, results: Results) -> list[str]:
    """Compares every result that the file names; a file's entry without a result is a mismatch."""
    wrong = []
    wanted = {k: a for k, a in case.arrays.items() if k.split(".")[0] in ("out", "state", "grad")}
    if case.meta["mode"] != "eval":
        # What the step overwrote, and every other parameter as it was.
        wanted |= {f"param1.{name}": case.arrays.get(f"param1.{name}", a) for name, a in case.group("param").items()}
    if not any(key.startswith(("out.", "grad.")) for key in wanted):
        return ["the file says nothing about a result"]
    for key, want in wanted.items():
        if key.rpartition(".")[2] in layout.WITHOUT_COUNTERPART:
            continue
        if key in results:
            wrong += judge_of(case, key)(key, results[key], want)
        else:
            wrong.append(f"{key}: there is no such result")
    wrong += [f"{key}: the file has none" for key in results if key.startswith("out.") and key not in wanted]
    return wrong

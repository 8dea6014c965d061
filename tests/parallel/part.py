"""One part, a line of JSON a case: ``python -m tests.parallel.part``, a process that the command starts."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import warnings


def main(part: str, only: str, *numbers: str) -> None:
    """Runs the cases of a part whose names hold a text."""
    output = os.fdopen(os.dup(1), "w", buffering=1)  # what libraries print is not of the protocol
    os.dup2(2, 1)

    import linger_jax
    from tests.parallel.verdict import judged

    warnings.filterwarnings("ignore", ".*the constant", linger_jax.LingerWarning)  # one over a root, clipped
    for case in importlib.import_module(f"tests.parallel.{part}").cases(*map(int, numbers)):
        if only in case.name:
            output.write(json.dumps(dataclasses.asdict(judged(case))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

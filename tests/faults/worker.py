"""A process that runs cases one after the other: ``python -m tests.faults.worker``, started by the campaign.

Each line of the input is a case's number, each line of the output what became of it. A case that hangs ends the
process: by the processor time that it may take.
"""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import json
import logging
import os
import resource
import signal
import sys
import warnings
from pathlib import Path

SECONDS = 10
"""Of processor time, for one case."""
_MORE_ADDRESSES = 4 << 30
"""That a worker may take; a case may have a quarter of them."""


def main() -> None:
    """Runs the cases of the input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--readers", nargs="+", required=True)
    given = parser.parse_args()
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    output = os.fdopen(os.dup(1), "w", buffering=1)  # a reader may write to the other one
    os.dup2(2, 1)
    os.chdir(given.scratch)

    from tests.faults.case import run_case
    from tests.faults.readers import READERS

    for name in given.readers:  # modules that are imported late, and programs of JAX, are not of a case
        READERS[name].read(min((given.base / name).iterdir()))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MORE_ADDRESSES,) * 2)
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, all_threads=False, chain=True)
    output.write("ready\n")
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        outcome = run_case(given.seed, int(line), given.base, given.scratch, given.readers)
        signal.setitimer(signal.ITIMER_PROF, 0)
        output.write(json.dumps(dataclasses.asdict(outcome)) + "\n")


if __name__ == "__main__":
    main()

"""Writes docs/support_matrix.md; with ``--golden DIR`` it first reads the measured verdicts anew."""

import argparse
from pathlib import Path

from tests.support_matrix.evidence import read_cases, write_cases

DOCUMENT = Path(__file__).parents[2] / "docs" / "support_matrix.md"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.support_matrix", description=__doc__)
    parser.add_argument("--golden", type=Path, help="folder of the golden device cases")
    folder = parser.parse_args().golden
    if folder is not None:
        write_cases(read_cases(folder))

    from tests.support_matrix.page import matrix, page

    DOCUMENT.write_text(page(matrix()), encoding="utf-8")
    print(f"{DOCUMENT.name} written")

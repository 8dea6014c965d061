"""The example that README and docs point to."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_example_runs_and_learns():
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "examples/digits_qat.py", "--quick"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    accuracy = {name.strip(): float(value) for name, value in re.findall(r"^(.*?):\s+([\d.]+) %$", done.stdout, re.M)}
    assert accuracy["float"] > 80
    assert accuracy["trained quantized"] > 80

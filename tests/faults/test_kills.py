"""The program that kills writers: a small sample of it, and that it finds a writer that is not safe."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Forked in a process of its own: that of the tests has threads of JAX.
UNSAFE = """
import random
from pathlib import Path
from tests.faults.kills import kill_writes
from tests.faults.written import by_bytes

def write(folder, version):
    with open(folder / "file", "wb", buffering=0) as stream:
        for _ in range(400):
            stream.write(bytes([65 + version]) * 1000)

def leave(folder, version):
    partial = folder / f"{random.SystemRandom().random()}.partial"
    partial.write_bytes(bytes([65 + version]) * 100_000)
    partial.rename(folder / "file")

for unsafe in (write, leave):
    counts = kill_writes(by_bytes(unsafe.__name__, unsafe), 8, random.Random(0), lambda text: None)
    print(unsafe.__name__, counts["torn"] > 0, counts["left"] > 0, counts["no space"] - counts["survived"] > 0)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


@pytest.mark.slow
def test_no_writer_loses_anything_when_it_is_killed_or_has_no_space():
    done = run("-m", "tests.faults.kills", "--count", "26", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    *_, total = done.stdout.splitlines()
    name, kills, inside, torn, left, tried, survived = total.split()
    assert (name, kills, torn, left) == ("all", "26", "0", "0")
    assert int(inside) > 0
    assert tried == survived


def test_a_writer_that_writes_in_place_or_leaves_partial_files_is_found():
    done = run("-c", UNSAFE)
    assert done.stdout.splitlines() == ["write True False True", "leave False True True"], done.stdout + done.stderr

"""Two processes that each hold half of a batch, against one process."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import flax.serialization

from tests.parallel.course import Found, Place, course, differences
from tests.parallel.networks import METHODS, NETWORKS
from tests.parallel.verdict import Case

PROCESSES = 2
NAMES = tuple((name, method) for name in NETWORKS for method in METHODS)


def written(found: Found) -> bytes:
    """A course as a file holds it."""
    return flax.serialization.msgpack_serialize(found)


def read(path: Path) -> Found:
    return flax.serialization.msgpack_restore(path.read_bytes())


def compare(name: str, method: str) -> list[str]:
    """What differs between one process and two for a network."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "one").write_bytes(written(course(NETWORKS[name], METHODS[method], Place(), folder)))
        _run_members(name, method, folder)
        wanted = read(folder / "one")
        return [
            f"process {number}: {line}"
            for number in range(PROCESSES)
            for line in differences(read(folder / f"member{number}"), wanted, to_the_bit=False)
        ]


def _run_members(name: str, method: str, folder: Path) -> None:
    """Runs all processes; where one fails, the others, which wait for it, are ended."""
    command = [sys.executable, "-m", "tests.parallel.member", name, method, str(folder), str(_free_port())]
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=1",
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
    }
    members, logs = [], [folder / f"member{number}.log" for number in range(PROCESSES)]
    try:
        for number, log in enumerate(logs):
            with log.open("w") as stream:
                members.append(
                    subprocess.Popen([*command, str(number)], env=environment, stdout=stream, stderr=subprocess.STDOUT)
                )
        while any(member.poll() is None for member in members) and not any(member.poll() for member in members):
            time.sleep(0.1)
        codes = [member.poll() for member in members]
    finally:
        for member in members:
            member.kill()
            member.wait()
    if any(code != 0 for code in codes):
        raise RuntimeError("\n".join(["a process failed", *_ends(logs)]))


def _ends(logs: Sequence[Path]) -> list[str]:
    return [f"--- {log.stem}\n{log.read_text()[-3000:]}" for log in logs]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def cases() -> Iterator[Case]:
    """All networks by both methods."""
    for name, method in NAMES:
        yield Case(f"{name}, {method}", functools.partial(compare, name, method))

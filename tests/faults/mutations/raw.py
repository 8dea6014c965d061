"""Damage that knows nothing of the format: what a broken disk, a cut transfer or an editor does."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.faults.mutations.mutation import Mutation, Random, on_bytes, pick

_ODD_WORDS = (b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\0" * 8, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x01\0\0\0\0\0\0\0")
_ODD_TEXTS = (
    b"0",
    b"-1",
    b"2147483647",
    b"99999999999999999999",
    b"1e999",
    b"NaN",
    b"9" * 5000,
    b"1.5",
    b"null",
    b"{}",
    b"[]",
)


def _span(random: Random, data: bytes) -> tuple[int, int]:
    begin = int(random.integers(len(data) + 1))
    return begin, min(len(data), begin + int(random.geometric(1 / 40)))


def truncated(random: Random, data: bytes) -> bytes:
    return data[: int(random.integers(len(data) + 1))]


def cut_at_the_front(random: Random, data: bytes) -> bytes:
    return data[int(random.integers(len(data) + 1)) :]


def longer(random: Random, data: bytes) -> bytes:
    return data + random.bytes(int(random.integers(1, 200)))


def bits_flipped(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 9)) if data else 0):
        changed[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def span_overwritten(random: Random, data: bytes) -> bytes:
    begin, end = _span(random, data)
    return data[:begin] + random.bytes(end - begin) + data[end:]


def span_zeroed(random: Random, data: bytes) -> bytes:
    begin, end = _span(random, data)
    return data[:begin] + bytes(end - begin) + data[end:]


def span_removed(random: Random, data: bytes) -> bytes:
    begin, end = _span(random, data)
    return data[:begin] + data[end:]


def span_repeated(random: Random, data: bytes) -> bytes:
    begin, end = _span(random, data)
    return data[:end] + data[begin:end] * int(random.integers(1, 20)) + data[end:]


def spans_swapped(random: Random, data: bytes) -> bytes:
    (a, b), (c, d) = sorted((_span(random, data), _span(random, data)))
    b = min(b, c)
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def odd_word(random: Random, data: bytes) -> bytes:
    begin, word = int(random.integers(len(data) + 1)), pick(random, _ODD_WORDS)
    return data[:begin] + word + data[begin + len(word) :]


def odd_number(random: Random, data: bytes) -> bytes:
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", data))
    if not found:
        return data
    place = pick(random, found)
    return data[: place.start()] + pick(random, _ODD_TEXTS) + data[place.end() :]


def pipe(random: Random, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless_device(random: Random, path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def link_to_itself(random: Random, path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def folder(random: Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def missing(random: Random, path: Path) -> None:
    path.unlink()


BYTES = tuple(
    on_bytes(change)
    for change in (
        truncated,
        cut_at_the_front,
        longer,
        bits_flipped,
        bits_flipped,
        span_overwritten,
        span_zeroed,
        span_removed,
        span_repeated,
        spans_swapped,
        odd_word,
        odd_number,
    )
)
"""Changes of the bytes of any file."""

RAW = tuple(Mutation(change) for change in BYTES)
NO_FILE = tuple(Mutation(change, refused=True) for change in (pipe, endless_device, link_to_itself, folder, missing))

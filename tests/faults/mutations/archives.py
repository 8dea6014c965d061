"""Zip archives of ``torch.save`` and NumPy that are changed and packed again, checksums and all."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tests.faults.mutations.mutation import Mutation, Random, on_bytes, pick
from tests.faults.mutations.raw import BYTES

Change = Callable[[str, bytes], Iterable[tuple[str, bytes]]]


def rewritten(path: Path, change: Change, compression: int = zipfile.ZIP_STORED) -> None:
    """Writes an archive anew, each member as ``change`` says."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as source:
        members = [(member.filename, source.read(member)) for member in source.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            for made, content in change(name, data):
                archive.writestr(zipfile.ZipInfo(made), content, compression)


def _of_one_member(random: Random, path: Path, change: Callable[[str, bytes], Iterable[tuple[str, bytes]]]) -> None:
    if not zipfile.is_zipfile(path):
        return
    chosen = pick(random, zipfile.ZipFile(path).namelist())
    rewritten(path, lambda name, data: change(name, data) if name == chosen else [(name, data)])


def member_changed(random: Random, path: Path) -> None:
    damage = pick(random, BYTES)
    other = path.with_name("member")

    def change(name: str, data: bytes) -> Iterable[tuple[str, bytes]]:
        other.write_bytes(data)
        damage(random, other)
        yield name, other.read_bytes()
        other.unlink()

    _of_one_member(random, path, change)


def member_lost(random: Random, path: Path) -> None:
    _of_one_member(random, path, lambda name, data: [])


def member_twice(random: Random, path: Path) -> None:
    _of_one_member(random, path, lambda name, data: [(name, data), (name, data[::-1])])


def member_renamed(random: Random, path: Path) -> None:
    names = ("../../escape", "/tmp/escape", "a\\..\\b", "x/constants.pkl", "x/data.pkl", "", "\u202e", "a" * 3000)
    _of_one_member(random, path, lambda name, data: [(str(pick(random, names)), data)])


def record_of_another_length(random: Random, path: Path) -> None:
    by = int(random.integers(-16, 17)) or 4
    rewritten(
        path, lambda name, data: [(name, (data[:by] if by < 0 else data + bytes(by)) if "/data/" in name else data)]
    )


def records_with_odd_floats(random: Random, path: Path) -> None:
    odd = np.float32(pick(random, (np.nan, np.inf, -np.inf, 3e38, 1e-40)))

    def change(name: str, data: bytes) -> Iterable[tuple[str, bytes]]:
        if "/data/" in name and len(data) >= 4:
            numbers = np.frombuffer(data[: len(data) // 4 * 4], np.float32).copy()
            numbers[int(random.integers(len(numbers)))] = odd
            data = numbers.tobytes()
        yield name, data

    rewritten(path, change)


def order_of_bytes(random: Random, path: Path) -> None:
    text = pick(random, (b"big", b"middle", b"", b"\xff"))
    rewritten(path, lambda name, data: [(name, text if name.endswith("byteorder") else data)])


def compressed(random: Random, path: Path) -> None:
    rewritten(path, lambda name, data: [(name, data)], zipfile.ZIP_DEFLATED)


def bomb(random: Random, path: Path) -> None:
    """A member of a few megabytes that stands for gigabytes."""
    name = "x.npy" if path.suffix == ".npz" else "archive/data/9"
    size, packer = 3 << 30, zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packer.compress(bytes(1 << 22)) + packer.flush()
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"")
        archive.filelist[-1].file_size = size
        archive.filelist[-1].compress_size = len(stream)


def end_of_archive_alone(random: Random, data: bytes) -> bytes:
    return data[-22:] if len(data) > 22 else data


ARCHIVES = (
    *(Mutation(change) for change in (member_changed, member_changed, member_lost, records_with_odd_floats)),
    *(Mutation(change) for change in (order_of_bytes, member_renamed)),
    Mutation(compressed, whole=True),
    Mutation(member_twice, refused=True),
    Mutation(bomb, refused=True),
    Mutation(on_bytes(end_of_archive_alone), refused=True),
)
TORCH_ARCHIVES = (*ARCHIVES, Mutation(record_of_another_length))

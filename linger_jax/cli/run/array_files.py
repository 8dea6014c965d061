"""Arrays of the command line: ``.npy`` and ``.npz`` files in, one of them out."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from linger_jax.atomic_file import atomic_file
from linger_jax.errors import LingerError
from linger_jax.file_errors import file_errors
from linger_jax.foreign_file import foreign_file, require_name
from linger_jax.typing import HostArray

_ONE, _MANY = ".npy", ".npz"
_MOST_COMPRESSED = 1 << 29
"""Bytes of arrays beyond those of the file, which may be compressed."""
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_inputs(arguments: Sequence[str], names: Sequence[str]) -> dict[str, HostArray]:
    """The arrays that ``--input`` names; nothing pickled is loaded.

    Args:
      arguments: ``x.npy``, ``name=x.npy`` or ``all.npz`` (arrays by name). Files without a name are taken in order.
      names: inputs of the model, in order.

    Raises:
      LingerError: a file that cannot be read, holds pickled objects or the wrong number of arrays, or a name that is
        missing, unknown or given twice.
    """
    given: dict[str, HostArray] = {}
    unnamed: list[HostArray] = []
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if equals and not Path(argument).exists():
            arrays = _read(Path(path))
            if len(arrays) != 1:
                raise LingerError(
                    f"--input {argument}: holds {len(arrays)} arrays ({', '.join(arrays)}); one is wanted"
                )
            arrays = {name: next(iter(arrays.values()))}
        else:
            arrays = _read(Path(argument))
            if argument.endswith(_ONE) or (len(arrays) == 1 and not set(arrays) & set(names)):
                unnamed.extend(arrays.values())
                continue
        repeated = sorted(set(given) & set(arrays))
        if repeated:
            raise LingerError(f"--input {argument}: {repeated[0]} was given before")
        given.update(arrays)
    asked = f"--input {' '.join(arguments)}"
    unknown = [name for name in given if name not in names]
    if unknown:
        raise LingerError(f"{asked}: the model has no input {unknown[0]!r}; it takes {', '.join(names)}")
    free = [name for name in names if name not in given]
    if len(unnamed) != len(free):
        count = len(given) + len(unnamed)
        raise LingerError(
            f"{asked}: the model takes {len(names)} input(s), {', '.join(names)}; {count} were given. "
            f"Write --input NAME=FILE for each"
        )
    given.update(zip(free, unnamed, strict=True))
    return {name: given[name] for name in names}


def check_output(path: Path, count: int) -> None:
    """Whether arrays can be written there, before they are computed.

    Raises:
      LingerError: another suffix than ``.npy`` and ``.npz``, a folder, or several arrays for ``.npy``.
    """
    if path.suffix not in (_ONE, _MANY):
        raise LingerError(f"--output {path}: write {_MANY}, or {_ONE} for one tensor")
    if path.suffix == _ONE and count != 1:
        raise LingerError(f"--output {path}: {count} tensors do not fit a {_ONE} file; write {_MANY}")
    with file_errors(path):
        if path.is_dir():
            raise LingerError(f"--output {path}: is a folder; name a file")


def write_arrays(path: Path, arrays: Mapping[str, HostArray]) -> None:
    """Writes arrays by name as ``.npz``, or one as ``.npy``; a failure leaves no partial file.

    Raises:
      FileError: the file cannot be written.
    """
    with atomic_file(path) as file:
        if path.suffix == _ONE:
            (array,) = arrays.values()
            np.save(file, array, allow_pickle=False)
        else:
            _save_members(file, arrays)


def _save_members(file: Any, arrays: Mapping[str, HostArray]) -> None:
    """``np.savez`` for any name: as keyword arguments, ``file`` would be taken for the file."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}{_ONE}", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def _read(path: Path) -> dict[str, HostArray]:
    """Arrays of a file by name; the one of an ``.npy`` file has the file's."""
    with foreign_file(path, LingerError, ".npy or .npz file of plain arrays") as file:
        with file.open("rb") as stream:
            if stream.peek(1)[:1] == np.lib.format.MAGIC_PREFIX[:1]:
                return {file.stem: _array(stream, file.stat().st_size)}
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            claimed, held = sum(member.file_size for member in members), file.stat().st_size
            if claimed > held + _MOST_COMPRESSED:
                raise LingerError(f"{path}: its arrays claim {claimed:,} bytes, the file has {held:,}")
            arrays = {}
            for member in members:
                with archive.open(member) as stream:
                    name = require_name(member.filename.removesuffix(_ONE), str(path), LingerError)
                    arrays[name] = _array(stream, member.file_size)
            if len(arrays) != len(members):
                raise LingerError(f"{path}: has two arrays of one name")
            return arrays


def _array(stream: IO[bytes], size: int) -> HostArray:
    """One array in NumPy's format, of plain numbers, whose bytes are as many as its shape says.

    Args:
      stream: of the file or member.
      size: its bytes.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"format {version[0]}.{version[1]}")
    shape, in_columns, dtype = _HEADERS[version](stream)
    if dtype.hasobject or dtype.kind not in "biufc":
        raise ValueError(f"it holds {dtype}, no plain numbers")
    wanted = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or wanted > size:
        raise ValueError(f"shape {shape} does not fit {size:,} bytes")
    numbers = np.frombuffer(stream.read(), dtype)
    return numbers.reshape(shape, order="F" if in_columns else "C").copy()

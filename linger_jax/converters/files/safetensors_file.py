"""``.safetensors`` files: a JSON header and raw numbers, checked before any is read."""

from __future__ import annotations

import collections
import itertools
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from linger_jax.atomic_file import atomic_file
from linger_jax.errors import ConversionError
from linger_jax.foreign_file import foreign_file, reason

_DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_LENGTH_BYTES = 8
# For some hundred thousand tensors; as Python's objects it takes some twenty times as much.
_LONGEST_HEADER = 1 << 24
_MOST_AXES = 64
_METADATA = "__metadata__"


def read_safetensors_file(file: Path, *, values: bool = True) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays by key, little-endian as the format has them.

    Args:
      file: the file.
      values: False where only shapes and dtypes are wanted: the arrays are mapped from the file.

    Raises:
      ConversionError: a damaged header, an unknown type, or a tensor whose shape does not fit its bytes.
    """
    with foreign_file(file, ConversionError, "safetensors file", "copy it again"):
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            if size < _LENGTH_BYTES or not 2 <= length <= size - _LENGTH_BYTES:
                raise _damaged(file, "its header has an impossible length")
            if length > _LONGEST_HEADER:
                raise _damaged(file, f"its header has {length:,} bytes; at most {_LONGEST_HEADER:,}")
            try:
                header = json.loads(stream.read(length), object_pairs_hook=_without_repetition)
            except ValueError as error:
                raise _damaged(file, f"its header is no JSON: {reason(error)}") from error
        if not isinstance(header, dict):
            raise _damaged(file, "its header is no table")
        start = _LENGTH_BYTES + length
        body = np.memmap(file, np.uint8, "r", start) if size > start else np.zeros(0, np.uint8)
        entries = {key: entry for key, entry in header.items() if key != _METADATA}
        mapped = {key: _tensor(file, key, entry, body) for key, entry in entries.items()}
        _require_disjoint(file, entries)
        return {key: np.array(array) for key, array in mapped.items()} if values else mapped


def write_safetensors_file(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Writes arrays by key; the file appears, or changes, only when everything is written.

    Raises:
      FileError: the folder does not exist or cannot be written to.
    """
    names = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
    header: dict[str, Any] = {_METADATA: {"format": "pt"}}
    end = 0
    for key, array in tensors.items():
        begin, end = end, end + array.nbytes
        header[key] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    with atomic_file(path, make_folders=False) as stream:
        stream.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for array in tensors.values():
            stream.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def _tensor(file: Path, key: str, entry: Any, body: Any) -> np.ndarray[Any, Any]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        whole = len(shape) <= _MOST_AXES and all(type(n) is int and n >= 0 for n in (*shape, begin, end))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"the entry of {key} is incomplete") from error
    if dtype not in _DTYPES:
        raise ConversionError(f"{file}: {key} has the type {dtype}; known are {', '.join(_DTYPES)}")
    wanted = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize if whole else -1
    if not whole or end - begin != wanted or end > body.size:
        raise _damaged(file, f"{key} {list(shape)!s:.80} of {dtype} does not fit bytes {begin} to {end} of {body.size}")
    return np.asarray(body[begin:end]).view(_DTYPES[dtype]).reshape(shape)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        (name, _), *_ = collections.Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the header names {name[:100]!r} twice")
    return table


def _require_disjoint(file: Path, entries: Mapping[str, Any]) -> None:
    """Bytes that several tensors share would be read, and take memory, once for each."""
    places = sorted((*entry["data_offsets"], key) for key, entry in entries.items())
    for (_, end, key), (begin, _, other) in itertools.pairwise(places):
        if begin < end:
            raise _damaged(file, f"{key} and {other} share bytes")


def _damaged(file: Path, what: str) -> ConversionError:
    return ConversionError(f"{file}: is truncated, damaged or no safetensors file ({what}); copy it again")

"""Arrays of NumPy and ``.safetensors`` whose headers say something else than their bytes."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.mutations.mutation import ODD_NAMES, ODD_NUMBERS, Mutation, Random, on_bytes, pick
from tests.faults.mutations.raw import BYTES

_SHAPES = ((10**12,), (-1,), (0, 2**62), (2**31, 2**31), (1,) * 70, (3.5,), ("a",), (True,), (2**70,), (), (0,))
_DTYPES = (
    "|O",
    "<V8",
    "<U3",
    "<M8[s]",
    ">f4",
    "<f2",
    "<f8",
    "<i8",
    "|b1",
    "<c16",
    "nonsense",
    "<f4" * 50,
    "<U0",
    "(1000,1000)<f4",
)


def header_of_an_array(random: Random, data: bytes) -> bytes:
    """A header of our own in front of the numbers of an ``.npy`` file."""
    if data[:6] != b"\x93NUMPY":
        return data
    length = 10 + struct.unpack("<H", data[8:10])[0]
    deep = "(" * 3000 + ")" * 3000
    shape = pick(random, (*map(repr, _SHAPES), deep, "[2]", "(1,)*9", "__import__('os').system('touch escape')"))
    descr = repr(pick(random, _DTYPES)) if random.random() < 0.6 else "'<f4'"
    order = pick(random, ("True", "False", "3", "None"))
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    version = pick(random, (b"\x01\0", b"\x02\0", b"\x03\0", b"\x09\0"))
    size = struct.pack("<H" if version == b"\x01\0" else "<I", min(len(text), 65535 if version == b"\x01\0" else 2**31))
    return b"\x93NUMPY" + version + size + text + data[length:]


def pickled_objects(random: Random, path: Path) -> None:
    class Code:
        def __reduce__(self) -> Any:
            import os

            return os.system, ("touch escape",)

    array = np.array([Code(), None], object)
    if path.suffix == ".npz":
        np.savez(path, left=array)
    else:
        np.save(path, array, allow_pickle=True)


def other_dtype(random: Random, path: Path) -> None:
    kinds = ("f2", "f8", "i1", "i8", "u8", "c8", "b1", "U5", "M8[s]", ">f4")
    dtype = np.dtype(str(pick(random, kinds)))
    shape = pick(random, ((2, 4), (4,), (), (0,), (2, 4, 1), (1, 1000)))
    array = np.asfortranarray(np.ones(shape).astype("i8" if dtype.kind == "M" else "f8").astype(dtype))
    if random.random() < 0.2 and dtype.kind == "f" and array.size:
        array.ravel()[0] = np.nan
    if path.suffix == ".npz":
        np.savez(path, **{pick(random, ("left", "x", "file", "a" * 2000)): array})
    else:
        np.save(path, array)


def member_of_arrays(random: Random, path: Path) -> None:
    """One array of an ``.npz`` file with another header, or damaged."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    chosen = pick(random, list(members))
    if random.random() < 0.5:
        members[chosen] = header_of_an_array(random, members[chosen])
    else:
        other = path.with_name("member")
        other.write_bytes(members[chosen])
        pick(random, BYTES)(random, other)
        members[chosen] = other.read_bytes()
        other.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


ARRAYS = (
    *(Mutation(on_bytes(header_of_an_array)),) * 3,
    *(Mutation(other_dtype),) * 2,
    Mutation(pickled_objects, refused=True),
)
MANY_ARRAYS = (
    Mutation(member_of_arrays),
    Mutation(member_of_arrays),
    Mutation(other_dtype),
    Mutation(pickled_objects, refused=True),
)


def _header(data: bytes) -> tuple[dict[str, Any], bytes] | None:
    length = int.from_bytes(data[:8], "little")
    try:
        return json.loads(data[8 : 8 + length]), data[8 + length :]
    except ValueError:
        return None


def _packed(header: str | bytes, body: bytes) -> bytes:
    raw = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    return struct.pack("<Q", len(raw)) + raw + body


def entry_of_a_tensor(random: Random, data: bytes) -> bytes:
    parts = _header(data)
    if parts is None:
        return data
    header, body = parts
    name = pick(random, [key for key in header if key != "__metadata__"])
    entry = header[name]
    field = pick(random, ("shape", "data_offsets", "dtype", "name", "whole"))
    if field == "shape":
        entry["shape"] = pick(
            random, (*map(list, _SHAPES), [len(body) // 4], list(reversed(entry["shape"])), None, "x", [1] * 10**5)
        )
    elif field == "data_offsets":
        odd = [int(pick(random, ODD_NUMBERS)) for _ in range(2)]
        entry["data_offsets"] = pick(random, (odd, [0, len(body)], [0], "x", [0.0, 4.0], None, [None, None]))
    elif field == "dtype":
        entry["dtype"] = pick(
            random, ("F64", "F16", "BF16", "I32", "U8", "BOOL", "F8_E4M3", "", None, 3, ["F32"], "f32")
        )
    elif field == "name":
        header[str(pick(random, ODD_NAMES))] = header.pop(name)
    else:
        header[name] = pick(random, (None, [], 3, "x", {}))
    return _packed(json.dumps(header), body)


def shared_bytes(random: Random, data: bytes) -> bytes:
    count = int(random.integers(2, 3000))
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    return _packed(json.dumps({f"t{i}": entry for i in range(count)}), bytes(4))


def odd_header(random: Random, data: bytes) -> bytes:
    headers = (
        b"[]", b"null", b"{", b'{"a": 1}', b"[" * 100_000, b'{"a":' * 50_000, b'{"a":NaN}', b'"' + b"a" * 1000 + b'"',
        b'{"a": ' + b"9" * 6000 + b"}",
        b'{"a":{"dtype":"F32","shape":[' + b"9," * 10_000 + b'1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b"\xff\xfe{}", b"{}" + b" " * 100, b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    )  # fmt: skip
    return _packed(pick(random, headers), data[-64:])


def odd_floats(random: Random, data: bytes) -> bytes:
    if len(data) < 24:
        return data
    odd = np.float32(pick(random, (np.nan, np.inf, -np.inf, 3e38))).tobytes()
    place = len(data) - 4 * int(random.integers(1, 5))
    return data[:place] + odd + data[place + 4 :]


SAFETENSORS = (
    *(Mutation(on_bytes(change)) for change in (entry_of_a_tensor, entry_of_a_tensor, entry_of_a_tensor, odd_floats)),
    *(Mutation(on_bytes(change), refused=True) for change in (shared_bytes, odd_header)),
)

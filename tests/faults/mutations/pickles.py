"""Pickles that no honest program writes, put together from single operations."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

from tests.faults.mutations.archives import rewritten
from tests.faults.mutations.mutation import Mutation, Random, pick

_START, _STOP = b"\x80\x02", b"."


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def _called(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def _tensor(size: int, stride: int, offset: int = 0, count: int = 4) -> bytes:
    """``count`` floats of record 0, seen with another size."""
    number = lambda n: b"\x8a\x08" + struct.pack("<q", n)  # noqa: E731
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + number(count) + b"tQ"
    return _called(
        "torch._utils",
        "_rebuild_tensor_v2",
        storage,
        number(offset),
        b"(" + number(size) + b"t",
        b"(" + number(stride) + b"t",
        b"\x89",
        b"ccollections\nOrderedDict\n)R",
    )


def _mapping(*entries: bytes) -> bytes:
    return _START + b"}(" + b"".join(entries) + b"u" + _STOP


def holds_itself(random: Random) -> bytes:
    name = pick(random, ("state_dict", "model", "net", "module", "model_state_dict"))
    return _START + b"}q\x00(" + _text(name) + b"h\x00" + _text("a") + _tensor(4, 1) + b"u" + _STOP


def wrappers_by_the_billion(random: Random) -> bytes:
    body = b"}q\x00"
    for level in range(1, int(random.integers(20, 200))):
        inner = b"h" + bytes([level - 1])
        body += b"}(" + b"".join(_text(n) + inner for n in ("model", "net", "module")) + b"uq" + bytes([level])
    return _START + body + _STOP


def wrappers_without_end(random: Random) -> bytes:
    depth = int(random.integers(10, 3000))
    return _START + b"".join(b"}" + _text("model") for _ in range(depth)) + _tensor(4, 1) + b"s" * depth + _STOP


def deep_tuple_as_key(random: Random) -> bytes:
    return _mapping(b"N" + b"\x85" * int(random.integers(60, 2_000_000)), b"K\x01")


def tuples_by_the_billion(random: Random) -> bytes:
    twice = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(int(random.integers(20, 200))))
    return _mapping(b"N" + twice, b"K\x01")


def any_number_of_bytes(random: Random) -> bytes:
    number = b"\x8a\x06" + int(random.integers(2**31, 2**40)).to_bytes(6, "little")
    name = pick(random, ("bytearray", "storage", "tensor", "untyped"))
    maker = {
        "bytearray": ("__builtin__", "bytearray"),
        "storage": ("torch", "FloatStorage"),
        "tensor": ("torch", "FloatTensor"),
        "untyped": ("torch.storage", "UntypedStorage"),
    }[name]
    return _mapping(_text("a"), _called(*maker, number))


def encoded_again_and_again(random: Random) -> bytes:
    value = _called("_codecs", "encode", _text("a" * 100), _text("latin1"))
    for _ in range(int(random.integers(2, 60))):
        value = _called("_codecs", "encode", value, _text("hex"))
    return _mapping(_text("a"), value)


def code(random: Random) -> bytes:
    calls = (
        _called("os", "system", _text("touch escape")),
        _called("posix", "system", _text("touch escape")),
        _called("__builtin__", "eval", _text("open('escape', 'w')")),
        _called("subprocess", "Popen", _text("touch escape")),
        _called("torch.serialization", "load", _text("other.pt")),
        _called("webbrowser", "open", _text("http://localhost")),
        _called("torch.hub", "load", _text("x")),
        _called("runpy", "run_path", _text("escape.py")),
    )
    return _mapping(_text("a"), pick(random, calls))


def tensor_beyond_its_numbers(random: Random) -> bytes:
    sizes = ((10**9, 1, 0), (4, 10**12, 0), (4, 1, 10**9), (-4, 1, 0), (4, -1, 3), (2**62, 4, 0), (5, 1, 0), (4, 1, -1))
    return _mapping(_text("a"), _tensor(*pick(random, sizes)))


def tensor_that_repeats_itself(random: Random) -> bytes:
    return _mapping(_text("first.bias"), _tensor(int(random.integers(2**27, 2**40)), 0))


def numbers_that_are_not_there(random: Random) -> bytes:
    return _mapping(_text("a"), _tensor(4, 1, 0, int(random.integers(2**20, 2**50))))


def strange_names(random: Random) -> bytes:
    name = pick(random, ("\ud800", "a" * 100_000, "a\x1b[2Jb", "a\nb", "\u202e"))
    return _mapping(_text(name), _tensor(4, 1))


def no_mapping(random: Random) -> bytes:
    body = pick(
        random, (b"N", b"K\x01", b"]", b")", _text("a"), _tensor(4, 1), b"](K\x01e", b"}" * 3, b"0", b"h\x05", b"R")
    )
    return _START + body + _STOP


def lists_in_lists(random: Random) -> bytes:
    depth = int(random.integers(100, 200_000))
    return _START + b"]" * depth + b"a" * (depth - 1) + _STOP


def long_integers(random: Random) -> bytes:
    return _mapping(
        _text("a"), b"\x8b" + struct.pack("<i", int(pick(random, (2**31 - 1, -1, 100_000)))) + b"\x7f" * 100
    )


TRICKS = (
    holds_itself,
    wrappers_by_the_billion,
    wrappers_without_end,
    deep_tuple_as_key,
    tuples_by_the_billion,
    any_number_of_bytes,
    encoded_again_and_again,
    code,
    tensor_beyond_its_numbers,
    tensor_that_repeats_itself,
    numbers_that_are_not_there,
    strange_names,
    no_mapping,
    lists_in_lists,
    long_integers,
)


def _in_archive(trick):
    def change(random: Random, path: Path) -> None:
        made = trick(random)
        rewritten(path, lambda name, data: [(name, made if name.endswith("data.pkl") else data)])

    change.__name__ = trick.__name__
    return Mutation(change, refused=True)


def _in_old_format(trick):
    def change(random: Random, path: Path) -> None:
        head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
        path.write_bytes(head + trick(random) + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16))

    change.__name__ = f"old_{trick.__name__}"
    return Mutation(change, refused=True)


IN_ARCHIVES = tuple(map(_in_archive, TRICKS))
IN_OLD_FILES = tuple(map(_in_old_format, TRICKS))

"""Checkpoints that are made to hang a reader, to fill the memory, or to be taken for something else."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from linger_jax.converters.files import read_state, write_safetensors_file
from linger_jax.converters.files.pickle_check import check_pickle
from linger_jax.errors import ConversionError

WEIGHT = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuK\x14tQK\x00(K\x04K\x05t(K\x05K\x01t\x89ccollections\nOrderedDict\n)RtR"
)


def text(name: str) -> bytes:
    raw = name.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def archive(path: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as target:
        for name, data in (("data.pkl", b"\x80\x02" + pickled + b"."), ("byteorder", b"little"), ("version", b"3\n")):
            target.writestr(f"a/{name}", data)
        target.writestr("a/data/0", bytes(80))
    return path


def every_array(path: Path) -> list[np.ndarray]:
    state = read_state(path)
    return [state.raw(key) for key in state.tensors]


def refusal(path: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        every_array(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["state_dict", "model", "net"])
def test_a_checkpoint_that_holds_itself_is_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "m.pt", b"}q\x00(" + text(name) + b"h\x00" + text("a.weight") + WEIGHT + b"u")
    assert f"is not a mapping of tensors: {name}" in refusal(path)


def test_mappings_that_hold_each_other_in_many_ways_are_refused(tmp_path: Path) -> None:
    levels = b"}q\x00"
    for level in range(1, 100):
        inner = b"h" + bytes([level - 1])
        levels += b"}(" + b"".join(text(name) + inner for name in ("model", "net", "module")) + b"uq" + bytes([level])
    assert "is not a mapping of tensors" in refusal(archive(tmp_path / "m.pt", levels))


def test_a_state_dict_below_a_pile_of_wrappers_is_refused(tmp_path: Path) -> None:
    pickled = b"".join(b"}" + text("model") for _ in range(200)) + WEIGHT + b"s" * 200
    assert "lies in more than 8 mappings" in refusal(archive(tmp_path / "m.pt", pickled))


@pytest.mark.parametrize("levels", [60, 1_000_000])
def test_keys_of_tuples_in_tuples_are_refused(tmp_path: Path, levels: int) -> None:
    pickled = b"}N" + b"\x85" * levels + b"K\x01s"
    assert "a tuple of 52 entries, 51 deep" in refusal(archive(tmp_path / "m.pt", pickled))


def test_keys_that_stand_for_billions_of_tuples_are_refused(tmp_path: Path) -> None:
    twice = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40))
    assert "a tuple of 131,071 entries" in refusal(archive(tmp_path / "m.pt", b"}N" + twice + b"K\x01s"))


@pytest.mark.parametrize(
    "call",
    [
        b"c__builtin__\nbytearray\n(\x8a\x05\0\0\0\0\1tR",
        b"ctorch\nFloatStorage\n(J\0\0\0\x40tR",
        b"ctorch\nFloatTensor\n(J\0\0\0\x40tR",
        b"ccollections\nOrderedDict\n(]q\x00tR0ccollections\nOrderedDict\n(h\x00tR",
        b"(" + text("b" * 30) + b"q\x00tq\x010c__builtin__\nset\n(h\x00tR",
        b"c_codecs\nencode\n(c_codecs\nencode\n(" + text("a") + text("latin1") + b"tR" + text("hex") + b"tR",
    ],
)
def test_calls_that_make_memory_out_of_nothing_are_refused(tmp_path: Path, call: bytes) -> None:
    path = archive(tmp_path / "m.pt", b"}" + text("a") + call + b"s")
    assert "in a way that makes memory out of nothing" in refusal(path)
    old = tmp_path / "old.pt"
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
    old.write_bytes(head + b"\x80\x02}" + text("a") + call + b"s.")
    assert "in a way that makes memory out of nothing" in refusal(old)


def test_bytes_beside_the_weights_are_read_as_ever(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "x_extra_state": b"bytes", "y_extra_state": bytearray(b"more")}, tmp_path / "m.pt")
    assert list(read_state(tmp_path / "m.pt").tensors) == ["a"]


def test_a_length_beyond_the_file_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 45) + b"abc")
    assert "expected 35184372088832 bytes" in refusal(path)


def test_a_tensor_that_repeats_a_number_for_gigabytes_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(1 << 30)}, tmp_path / "m.pt")
    assert "claims 4,294,967,296 bytes" in refusal(tmp_path / "m.pt")


def test_a_pickle_is_checked_up_to_its_end() -> None:
    import io

    stream = io.BytesIO(pickle.dumps({"a": (1, (2, 3))}, 2) + b"rest")
    check_pickle(stream)
    assert stream.read() == b"rest"
    with pytest.raises(ValueError, match="pickle exhausted"):
        check_pickle(io.BytesIO(b"\x80\x02}"))


@pytest.mark.parametrize("name", ["\ud800", "a\x1b[2J", "b" * 2000])
def test_names_that_cannot_be_shown_are_refused(tmp_path: Path, name: str) -> None:
    assert (
        "holds the name" in refusal(archive(tmp_path / "m.pt", b"}" + text(name) + WEIGHT + b"s")) or len(name) > 1000
    )


def test_keys_that_are_equal_as_text_are_refused() -> None:
    with pytest.raises(ConversionError, match="two of its keys are equal as text"):
        read_state({1: torch.ones(2), "1": torch.zeros(2)})


@pytest.mark.parametrize("key", ["", ".", "a.", ".weight", "a..weight"])
def test_keys_with_an_empty_part_are_refused(key: str) -> None:
    with pytest.raises(ConversionError, match="has an empty part"):
        read_state({"b.weight": torch.ones(2), key: torch.ones(2)})


def test_a_tensor_whose_unpacked_name_is_taken_is_refused() -> None:
    tensors = {"a.in_proj_weight": torch.ones(6, 2), "a.out.weight": torch.ones(2, 2)}
    with pytest.raises(ConversionError, match=r"a\.out_proj\.weight is a second tensor that is called a\.out\.weight"):
        read_state({**tensors, "a.out_proj.weight": torch.zeros(2, 2)})


def test_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt", b"}" + text("a") + WEIGHT + b"s")
    with zipfile.ZipFile(path, "a") as target, pytest.warns(UserWarning, match="Duplicate name"):
        target.writestr("a/data/0", bytes(range(80)))
    assert "has two members of one name" in refusal(path)


def header(path: Path, content: bytes, body: bytes = bytes(8)) -> Path:
    path.write_bytes(struct.pack("<Q", len(content)) + content + body)
    return path


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps({"a": ENTRY, "b": ENTRY}).encode(), "a and b share bytes"),
        (f'{{"a": {json.dumps(ENTRY)}, "a": {json.dumps(ENTRY)}}}'.encode(), "names 'a' twice"),
        (b"[" * 100_000, "RecursionError"),
        (b'{"a":{"dtype":"F32","shape":[' + b"9," * 10_000 + b'1],"data_offsets":[0,4]}}', "does not fit bytes"),
        (b'{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}', "TypeError"),
        (b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "holds the name"),
    ],
)
def test_headers_that_say_the_impossible_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    told = refusal(header(tmp_path / "m.safetensors", content))
    assert message in told
    assert len(told) < 1000


def test_a_header_that_fills_the_memory_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", 1 << 26))
        stream.truncate(1 << 27)
    assert "its header has 67,108,864 bytes; at most 16,777,216" in refusal(path)


def test_an_index_that_names_no_tensors_is_refused(tmp_path: Path) -> None:
    write_safetensors_file(tmp_path / "one.safetensors", {"a": np.ones(2, np.float32)})
    index = tmp_path / "model.safetensors.index.json"
    for table in ({"a": ["one.safetensors"]}, {"a": "../one.safetensors"}, {"a": "/etc/passwd"}, {"a": ".."}, ["a"], 3):
        index.write_text(json.dumps({"weight_map": table}))
        refusal(tmp_path)
    os.mkfifo(tmp_path / "two.safetensors")
    index.write_text(json.dumps({"weight_map": {"a": "two.safetensors"}}))
    assert "is not a file but a pipe" in refusal(tmp_path)

"""Archives of ``torch.save`` that are damaged on purpose, or come from another machine."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import flax.linen as nn
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linger_jax import converters
from linger_jax.converters.files.byte_order import has_swapped_bytes
from linger_jax.converters.files.torch_state import read_state
from linger_jax.errors import ConversionError
from tests.converters.twins import example, randomized

STATE = randomized(torch.nn.Linear(5, 3)).state_dict()
X = example(2, 5)


def saved(tmp_path: Path) -> Path:
    torch.save(STATE, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def error_of(path: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        converters.from_torch(path, nn.Dense(3), X)
    return str(caught.value)


def rewritten(path: Path, change: Callable[[str, bytes], Iterable[tuple[str, bytes]]]) -> Path:
    """The archive with other members; checksums and sizes of the archive itself are right."""
    target = path.with_name("changed.pt")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for member in source.infolist():
            for name, data in change(member.filename, source.read(member)):
                archive.writestr(name, data)
    return target


@pytest.mark.parametrize("missing", [8, None])
def test_a_tensor_whose_record_is_short_or_absent_is_refused(tmp_path: Path, missing: int | None) -> None:
    def change(name: str, data: bytes) -> list[tuple[str, bytes]]:
        if not name.endswith("data/0"):
            return [(name, data)]
        return [] if missing is None else [(name, data[:-missing])]

    assert "is truncated, damaged or no file of torch.save" in error_of(rewritten(saved(tmp_path), change))


def test_members_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "overlapping.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/0", bytes(1 << 16))
        archive.filelist.extend(archive.filelist * 3)
    assert "its members claim more bytes than the file has" in error_of(path)


def test_names_of_members_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/dat\u00e4", b"")
    path.write_bytes(path.read_bytes().replace(b"\xc3\xa4", b"\xc3\xc3"))
    assert "is truncated or damaged" in error_of(path)


def test_a_file_of_a_big_endian_machine_is_read(tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> list[tuple[str, bytes]]:
        if name.endswith("byteorder"):
            return [(name, b"big")]
        return [(name, np.frombuffer(data, "<f4").astype(">f4").tobytes() if "/data/" in name else data)]

    variables, _ = converters.from_torch(rewritten(saved(tmp_path), change), nn.Dense(3), X)
    np.testing.assert_array_equal(variables["params"]["kernel"], STATE["weight"].numpy().T)


def test_tensors_of_a_file_are_forgotten_once_they_are_converted(tmp_path: Path) -> None:
    read = read_state(saved(tmp_path))
    read.release("weight")
    assert not hasattr(read.tensors["weight"], "data_ptr")
    assert read.shape("weight") == (3, 5)
    given = read_state(STATE)
    given.release("weight")
    assert hasattr(given.tensors["weight"], "data_ptr"), "what the caller owns stays"


def test_numbers_in_the_other_byte_order_are_refused(tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> list[tuple[str, bytes]]:
        return [(name, b"big" if name.endswith("byteorder") else data)]

    assert "make sense only with their bytes in the other order" in error_of(rewritten(saved(tmp_path), change))


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-8, 3), count=st.integers(16, 64))
def test_only_swapped_numbers_count_as_swapped(seed: int, exponent: int, count: int) -> None:
    weights = np.random.default_rng(seed).normal(size=count).astype(np.float32) * np.float32(10.0**exponent)
    assert not has_swapped_bytes(weights)
    assert not has_swapped_bytes(weights * np.float32(1e-30)), "tiny, but no weights the other way round either"
    assert count < 40 or (np.abs(weights) < 1e-9).any() or has_swapped_bytes(weights.byteswap())

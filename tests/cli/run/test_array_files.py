"""Arrays for ``--input``: what NumPy reads, or one error; never code, never more memory than the file has."""

import zipfile

import numpy as np
import pytest

from linger_jax.cli.run.array_files import read_inputs
from linger_jax.errors import LingerError


def refusal(path, names=("x",)):
    with pytest.raises(LingerError) as caught:
        read_inputs([str(path)], names)
    assert str(path) in str(caught.value)
    return str(caught.value)


def written(path, shape, dtype="<f4", body=b"", order=False):
    with path.open("wb") as stream:
        header = {"descr": dtype, "fortran_order": order, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(body)
    return path


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "|i1", "<i8", "|b1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_numbers_are_read_as_numpy_reads_them(tmp_path, dtype, order):
    array = np.arange(12).reshape(3, 4).astype(dtype, order=order)
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "x.npz", x=array)
    for path in (tmp_path / "x.npy", tmp_path / "x.npz"):
        np.testing.assert_array_equal(read_inputs([str(path)], ["x"])["x"], array)


@pytest.mark.parametrize("shape", [(10**12,), (1 << 31, 1 << 31), (-1,), (3,), (0, 1 << 62)])
def test_shapes_that_the_bytes_do_not_fill_are_refused_unallocated(tmp_path, shape):
    refusal(written(tmp_path / "x.npy", shape, body=bytes(8)))


@pytest.mark.parametrize("dtype", ["|O", "<U3", "|V8", "<M8[s]", "|V4"])
def test_anything_but_numbers_is_refused(tmp_path, dtype):
    assert "no plain numbers" in refusal(written(tmp_path / "x.npy", (1,), dtype, bytes(64)))


def test_archives_that_claim_gigabytes_are_refused_unpacked(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(100))
        archive.filelist[0].file_size = 1 << 31
    assert "its arrays claim 2,147,483,648 bytes" in refusal(path)


def test_wrong_names_are_told_with_the_file(tmp_path):
    np.savez(tmp_path / "all.npz", left=np.ones(2), middle=np.ones(2))
    assert "the model has no input 'middle'; it takes left, right" in refusal(tmp_path / "all.npz", ("left", "right"))

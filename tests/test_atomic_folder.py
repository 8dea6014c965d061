"""Folders appear whole or not at all, and an older one stays until then."""

import ctypes
import os
import shutil
import subprocess
import sys

import pytest

from linger_jax.atomic_folder import atomic_folder
from linger_jax.errors import FileError


def _write(path, text, **options):
    with atomic_folder(path, **options) as folder:
        folder.mkdir()
        (folder / "step").write_text(text)


@pytest.fixture(params=[True, False], ids=["at once", "in two steps"])
def exchanges(request, monkeypatch):
    """With the system's exchange of two folders, and on a system that has none."""
    if not request.param:
        monkeypatch.setattr(ctypes, "CDLL", lambda _: None)
    return request.param


def test_a_folder_is_made_with_those_above_it(tmp_path):
    _write(tmp_path / "a" / "b", "new")
    assert (tmp_path / "a" / "b" / "step").read_text() == "new"
    assert os.listdir(tmp_path / "a") == ["b"]


def test_an_older_folder_is_replaced_and_keeps_its_permissions(tmp_path, exchanges):
    _write(tmp_path / "a", "old")
    (tmp_path / "a").chmod(0o750)
    _write(tmp_path / "a", "new", replace=True)
    assert (tmp_path / "a" / "step").read_text() == "new"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750
    assert os.listdir(tmp_path) == ["a"]


def test_a_failure_leaves_the_older_folder_and_nothing_else(tmp_path):
    _write(tmp_path / "a", "old")

    def fail():
        with atomic_folder(tmp_path / "a", replace=True) as folder:
            folder.mkdir()
            (folder / "step").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert (tmp_path / "a" / "step").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_cannot_take_its_place_leaves_the_older_one(tmp_path, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: None)
    _write(tmp_path / "a", "old")
    rename, calls = os.rename, []

    def rename_once(source, target):
        calls.append(target)
        if len(calls) == 3:  # onto the older one, the older one away, into its place
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_once)
    with pytest.raises(FileError, match="Permission denied"):
        _write(tmp_path / "a", "new", replace=True)
    assert (tmp_path / "a" / "step").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_an_older_folder_is_kept_where_replacing_was_not_asked_for(tmp_path):
    _write(tmp_path / "a", "old")
    with pytest.raises(FileError, match=r"File exists\); name another place, or remove what is there"):
        _write(tmp_path / "a", "new")
    assert (tmp_path / "a" / "step").read_text() == "old"


def test_a_file_in_the_place_is_kept(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileError, match="Not a directory"):
        _write(tmp_path / "a", "new", replace=True)
    assert (tmp_path / "a").read_text() == "old"


def test_two_that_write_the_same_folder_do_not_meet(tmp_path):
    with atomic_folder(tmp_path / "a", replace=True) as slow:
        slow.mkdir()
        _write(tmp_path / "a", "quick", replace=True)
        (slow / "step").write_text("slow")
    assert (tmp_path / "a" / "step").read_text() == "slow"
    assert os.listdir(tmp_path) == ["a"]


KILLED = {
    "while it writes": """
with atomic_folder(sys.argv[1], replace=True) as folder:
    folder.mkdir()
    (folder / "step").write_text("half")
    os.kill(os.getpid(), 9)
""",
    "between the two steps": """
def rename_and_die(old, new):
    rename(old, new)
    if str(new).endswith("old"):
        os.kill(os.getpid(), 9)

ctypes.CDLL = lambda _: None
rename, os.rename = os.rename, rename_and_die
with atomic_folder(sys.argv[1], replace=True) as folder:
    folder.mkdir()
    (folder / "step").write_text("new")
""",
}


@pytest.mark.parametrize(("moment", "left"), [("while it writes", 2), ("between the two steps", 1)])
def test_after_a_kill_the_next_write_finds_the_older_folder_and_clears_the_rest(tmp_path, moment, left):
    _write(tmp_path / "a", "old")
    code = "import ctypes, os, sys; from linger_jax.atomic_folder import atomic_folder" + KILLED[moment]
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False).returncode == -9
    assert len(os.listdir(tmp_path)) == left

    def look():
        with atomic_folder(tmp_path / "a", replace=True) as folder:
            assert (tmp_path / "a" / "step").read_text() == "old"
            assert not folder.exists()
            raise RuntimeError("seen")

    with pytest.raises(RuntimeError, match="seen"):
        look()
    assert os.listdir(tmp_path) == ["a"]
    shutil.rmtree(tmp_path / "a")

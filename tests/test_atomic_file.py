"""Files appear whole or not at all."""

import pytest

from linger_jax.atomic_file import atomic_file


def test_a_file_is_written_and_folders_above_it_are_made(tmp_path):
    with atomic_file(tmp_path / "a" / "b.txt") as partial:
        partial.write_text("new")
        assert not (tmp_path / "a" / "b.txt").exists()
    assert (tmp_path / "a" / "b.txt").read_text() == "new"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "b.txt"
    file.write_text("old")

    def write_half():
        with atomic_file(file) as partial:
            partial.write_text("half")
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="full"):
        write_half()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_keeps_pointing_at_its_file(tmp_path):
    file, link = tmp_path / "file.txt", tmp_path / "link.txt"
    file.write_text("old")
    link.symlink_to(file)
    with atomic_file(link) as partial:
        partial.write_text("new")
    assert link.is_symlink()
    assert file.read_text() == "new"

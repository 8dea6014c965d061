"""Files appear whole or not at all."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from linger_jax.atomic_file import atomic_file, write_file
from linger_jax.errors import FileError, LingerWarning
from linger_jax.write_through import is_written_through


def _write_half(file):
    with atomic_file(file) as stream:
        stream.write(b"half")
        raise RuntimeError("stop")


def test_a_file_is_written_and_folders_above_it_are_made(tmp_path):
    with atomic_file(tmp_path / "a" / "b.txt") as stream:
        stream.write(b"new")
        assert not (tmp_path / "a" / "b.txt").exists()
    assert (tmp_path / "a" / "b.txt").read_text() == "new"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "b.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError, match="stop"):
        _write_half(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_keeps_pointing_at_its_file_also_at_one_that_is_not_there_yet(tmp_path):
    file, link = tmp_path / "file.txt", tmp_path / "link.txt"
    link.symlink_to(file)
    for text in ("first", "second"):
        write_file(link, text)
        assert link.is_symlink()
        assert file.read_text() == text


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_a_file_keeps_its_permissions(tmp_path, mode):
    file = tmp_path / "secret"
    file.touch()
    file.chmod(mode)
    with atomic_file(file) as stream:
        (partial,) = set(tmp_path.iterdir()) - {file}
        assert partial.stat().st_mode & 0o777 & ~mode == 0  # not even while it is written
        stream.write(b"new")
    assert file.stat().st_mode & 0o777 == mode


def test_a_new_file_has_the_permissions_of_the_users_mask(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "new", "")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "a b\n'c", "\udcff"])
def test_every_name_that_the_file_system_takes_can_be_written(tmp_path, name):
    write_file(tmp_path / name, "new")
    assert (tmp_path / name).read_text() == "new"
    assert os.listdir(tmp_path) == [name]


def test_threads_that_write_the_same_file_do_not_meet(tmp_path):
    file, contents = tmp_path / "file", [bytes([65 + i]) * 20_000 for i in range(6)]
    together, failures = threading.Barrier(len(contents)), []

    def write(content):
        try:
            for _ in range(10):
                together.wait()
                with atomic_file(file) as stream:
                    for start in range(0, len(content), 5_000):
                        stream.write(content[start : start + 5_000])
                        stream.flush()
                assert file.read_bytes() in contents
        except BaseException as error:
            failures.append(error)
            together.abort()

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(tmp_path.iterdir()) == [file]


def test_the_next_write_clears_what_a_killed_process_left_of_the_same_file_alone(tmp_path):
    code = "import os, sys; from linger_jax.atomic_file import atomic_file\n"
    code += "with atomic_file(sys.argv[1]) as stream: stream.write(b'half'); stream.flush(); os.kill(os.getpid(), 9)"
    for name in ("file", "other"):
        assert subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    write_file(tmp_path / "file", "new")
    (left,) = set(tmp_path.iterdir()) - {tmp_path / "file"}
    assert left.name.startswith(".other.")
    write_file(tmp_path / "other", "new")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "other"}


def test_what_is_still_being_written_is_not_cleared(tmp_path):
    file = tmp_path / "file"
    with atomic_file(file) as slow:
        slow.write(b"slow")
        write_file(file, "quick")
        assert file.read_text() == "quick"
    assert file.read_text() == "slow"
    assert list(tmp_path.iterdir()) == [file]


def test_a_pipe_gets_everything_and_stays_a_pipe(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    content = np.random.default_rng(0).bytes(300_000)
    with atomic_file(pipe) as stream:
        stream.write(b"-" * 300_000)
        stream.seek(0)
        stream.write(content)
    reader.join()
    assert got == [content]
    assert pipe.is_fifo()


def test_a_pipe_that_nobody_reads_is_a_warning_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("linger_jax.write_through._SECONDS", 0.0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.warns(LingerWarning, match="nobody reads this pipe"):
        write_file(tmp_path / "pipe", "lost")
    assert (tmp_path / "pipe").is_fifo()


def test_devices_stay_devices():
    write_file("/dev/null", "nothing")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(FileError, match=r"^/dev/full: cannot be written \(No space left on device\); make room"):
        write_file("/dev/full", "too much")
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("target", ["pipe", "file"])
def test_standard_output_is_written_to_whatever_it_is(tmp_path, target):
    code = "from linger_jax.atomic_file import write_file; print('a', flush=True); write_file('/dev/stdout', 'b\\n');"
    code += "print('c')"
    with (tmp_path / "log").open("wb") as log:
        stdout = log if target == "file" else subprocess.PIPE
        run = subprocess.run([sys.executable, "-c", code], stdout=stdout, check=True)
    assert (run.stdout or (tmp_path / "log").read_bytes()) == b"a\nb\nc\n"


def test_what_is_written_through_is_told_from_files(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    assert not any(map(is_written_through, (tmp_path / "file", tmp_path, tmp_path / "missing", "x" * 300)))
    assert all(map(is_written_through, (tmp_path / "pipe", tmp_path / "link", "/dev/null", "/dev/stdout")))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("folder", r"Is a directory\); name a file in it"),
        ("file/below", r"Not a directory\); what should be a folder is a file"),
        ("file/far/below", r"Not a directory\)"),
        ("n" * 256, r"File name too long\); a name has 255 bytes at most"),
        ("circle", r"\(Too many levels of symbolic links\); the links of the path go in a circle"),
        ("a\0b", r"the path holds a NUL character\); take it out"),
        ("\ud800", r"\(no file name has '\\ud800'\); name another file"),
    ],
)
def test_what_cannot_be_written_is_one_line_of_path_reason_and_what_to_do(tmp_path, path, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    before = set(tmp_path.iterdir())
    with pytest.raises(FileError, match=reason) as caught:
        write_file(os.path.join(tmp_path, path), "new")
    text = str(caught.value)
    assert text.isprintable()
    assert path in text or ascii(path)[1:-1] in text
    assert set(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_text() == "old"


def test_a_file_without_permission_to_write_is_not_replaced(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for anyone but root
    with pytest.raises(FileError, match=r"Permission denied\); name a place that you may write to"):
        write_file(file, "new")
    assert file.read_text() == "old"


def test_a_folder_that_is_not_made_is_told(tmp_path):
    with pytest.raises(FileError, match=r"there is no folder .*nowhere\); make it first"):
        write_file(tmp_path / "nowhere" / "file", "new", make_folders=False)
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((os.fstat(descriptor).st_size, file.exists())))
    file = tmp_path / "file"
    write_file(file, "12345")
    assert seen == [(5, False)]

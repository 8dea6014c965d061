"""Packing: the program that is called, what becomes of its package, and what a user reads when there is none."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

import linger_jax
from linger_jax.cli import main
from linger_jax.errors import DeviceLintError, ExportError, FileError, LingerWarning, PackError
from linger_jax.export.packing.packer import find_packer
from tests.cli.unwritable import UNWRITABLE, is_one_line, prepare, space_for
from tests.export.packing.packages import package

WRITES = f"pathlib.Path(sys.argv[sys.argv.index('-o') + 1]).write_bytes({package()!r})"
TELLS = """
print('\\x1b[96m  total ops of model:1234\\x1b[0m')
print('\\x1b[96m  MemType.PSRAM need capacity: 320 Bytes\\x1b[0m')
print('\\x1b[96m  MemType.SHARE_MEM need capacity: 64 Bytes\\x1b[0m')
"""


def test_the_packer_gets_file_platform_and_options_in_a_folder_of_its_own(actor, linear_file, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    record = tmp_path / "record"
    code = f"pathlib.Path({str(record)!r}).write_text(repr((sys.argv[1:], os.getcwd(), 'PYTHONPATH' in os.environ)))"
    report = linger_jax.pack(
        linear_file(),
        tmp_path / "new" / "model.pkg",
        options=["--threshold4", "0"],
        packer=actor(code + TELLS + WRITES),
    )
    arguments, folder, mixed = eval(record.read_text())
    assert arguments == ["-g", "model.onnx", "-p", "arcs", "-o", "model.pkg", "-d", "False", "--threshold4", "0"]
    assert not Path(folder).exists()
    assert not mixed
    assert (tmp_path / "new" / "model.pkg").read_bytes() == package()
    assert [(use.kind, use.used) for use in report.memory] == [("share memory", 64), ("PSRAM", 320)]
    assert (report.operations, report.package_bytes, report.options) == (1234, len(package()), ("--threshold4", "0"))


def test_the_platform_is_spelt_as_the_packer_spells_it(actor, linear_file, tmp_path):
    code = "print('Error occurred: platform', sys.argv[sys.argv.index('-p') + 1]); sys.exit(1)"
    with pytest.raises(PackError, match="platform venusa"):
        linger_jax.pack(linear_file(platform="venusA"), tmp_path / "o", options=[], packer=actor(code))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "print('Error occurred: \\x1b[91m  SHARE-MEM to be allocated was 9, exceed 8 Byte\\x1b[0m'); sys.exit(1)",
            "threshold4",
        ),
        ("print('Error occurred: Platform mismatch'); sys.exit(1)", "the file is for another platform"),
        (
            "print('Error occurred: too wide'); print('  File \"/x/ops/LinearInt.py\", line 3, in f'); sys.exit(1)",
            "at QLinear_1: too wide",
        ),
        (
            "import absent_module",
            "No module named 'absent_module'); make it anew: `make pack-env`",
        ),
        ("print('tpacker: error: argument -p/--platform: invalid choice'); sys.exit(2)", "does not know the platform"),
        ("sys.exit(3)", "ended with status 3"),
        ("print('done')", "ended with status 0: done"),
        ("os.kill(os.getpid(), 9)", "ended with status -9"),
        ("raise RuntimeError('gone')", "RuntimeError: gone"),
    ],
)
def test_a_packer_that_makes_no_package_is_one_line_and_leaves_an_older_package(
    code, told, actor, linear_file, tmp_path
):
    out = tmp_path / "model.pkg"
    out.write_text("older")
    with pytest.raises(PackError) as error:
        linger_jax.pack(linear_file(), out, options=[], packer=actor(code))
    message = str(error.value)
    assert told in message
    assert "model.onnx" in message
    assert "\n" not in message
    assert "Traceback" not in message
    assert "\x1b" not in message
    assert out.read_text() == "older"


@pytest.mark.parametrize(("out", "reason"), UNWRITABLE.items())
def test_a_package_that_cannot_be_written_is_one_line_and_leaves_nothing(
    out, reason, actor, linear_file, tmp_path, capsys
):
    file, packer, folder = linear_file(), actor(WRITES), tmp_path / "out"
    folder.mkdir()
    before = prepare(folder)
    with pytest.raises(SystemExit) as exit_:
        main(["pack", str(file), "--out", str(folder / out), "--tpacker", str(packer), "--options", ""])
    printed, err = capsys.readouterr()
    assert (exit_.value.code, printed) == (1, "")
    assert is_one_line(err, reason), err
    assert set(folder.rglob("*")) == before


def test_a_package_goes_to_a_device_and_the_table_does_not(actor, linear_file, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["pack", str(linear_file()), "--out", "/dev/null", "--tpacker", str(actor(WRITES)), "--options", ""])
    printed, err = capsys.readouterr()
    assert (exit_.value.code, printed) == (0, "")
    assert "/dev/null: " in err
    assert Path("/dev/null").is_char_device()


def test_a_temporary_folder_without_space_is_one_line(actor, linear_file, tmp_path):
    file, packer = linear_file(), actor(WRITES)
    with space_for(10), pytest.raises(FileError, match="File too large"):
        linger_jax.pack(file, tmp_path / "o", options=[], packer=packer)
    assert not (tmp_path / "o").exists()


def test_a_packer_that_does_not_end_is_ended(actor, linear_file, tmp_path):
    code = "while True: time.sleep(60)"
    with pytest.raises(PackError, match=r"not done after 1\.5 s"):
        linger_jax.pack(linear_file(), tmp_path / "o", options=[], packer=actor(code), seconds=1.5)
    assert not [child for child in psutil.Process().children() if str(tmp_path) in " ".join(child.cmdline())]


def test_without_a_packer_the_message_says_where_it_comes_from(linear_file, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PackError, match="make pack-env"):
        linger_jax.pack(linear_file(), tmp_path / "o")
    with pytest.raises(PackError, match="no program that can be run"):
        find_packer(tmp_path / "absent")


def test_a_packer_of_the_project_is_found_after_one_on_the_search_path(actor, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.chdir(tmp_path)
    for folder in (".venv-pack/bin", "path"):
        (tmp_path / folder).mkdir(parents=True)
        program = actor("pass").rename(tmp_path / folder / "tpacker")
        assert find_packer() == program


def test_a_file_that_is_no_model_is_refused_before_the_packer(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match="no ONNX file"):
        linger_jax.pack(tmp_path / "model.onnx", tmp_path / "o", packer=tmp_path / "absent")


@pytest.mark.packer
def test_the_vendors_packer_packs_and_says_what_memory_it_takes(tpacker, linear_file, tmp_path, capsys):
    out = tmp_path / "model.pkg"
    main_arguments = ["pack", str(linear_file()), "-o", str(out), "--tpacker", str(tpacker)]
    main_arguments += ["--options", "--threshold4 0"]
    with pytest.raises(SystemExit) as exit_:
        main(main_arguments)
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert "share memory" in printed
    assert "PSRAM" in printed
    assert f"{out.stat().st_size:,} bytes for arcs" in printed
    assert "--threshold4 0" in printed


@pytest.mark.packer
@pytest.mark.filterwarnings("ignore:.*does not run it as it is:linger_jax.LingerWarning")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"inputs": 4096, "outputs": 1024}, "SHARE-MEM to be allocated was 12[0-9]+, exceed 393216"),
        ({"scale_o": 17.0}, "power of 2"),
        ({"shown": 32.0}, "Dequant_y"),
    ],
)
def test_a_refusal_of_the_vendors_packer_is_one_line(given, told, tpacker, linear_file, tmp_path):
    with pytest.raises(PackError, match=told) as error:
        linger_jax.pack(linear_file(**given), tmp_path / "o", options=[], strict=False, packer=tpacker)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "o").exists()


def test_the_lint_refuses_before_the_packer_is_called(actor, linear_file, tmp_path):
    """Defect of the packer: the executor's integers of 4-bit weights are unrelated, and it says nothing."""
    called = tmp_path / "called"
    packer = actor(f"pathlib.Path({str(called)!r}).touch()\n{WRITES}")
    with pytest.raises(DeviceLintError, match="QLinear_1") as error:
        linger_jax.pack(linear_file(w_bits=4), tmp_path / "o", packer=packer)
    assert not error.value.report.ok
    assert not called.exists()
    with pytest.warns(LingerWarning, match="QLinear_1"):
        linger_jax.pack(linear_file(w_bits=4), tmp_path / "o", packer=packer, strict=False)
    assert called.exists()


def test_the_packer_gets_the_options_that_the_lint_names(actor, linear_file, tmp_path):
    """On venusA the result of a linear layer with many rows has to lie in PSRAM."""
    code = "print('MemType.PSRAM need capacity: 5 Bytes', file=sys.stderr)\n"
    code += f"pathlib.Path({str(tmp_path / 'record')!r}).write_text(repr(sys.argv[-2:]))\n{WRITES}"
    report = linger_jax.pack(linear_file(platform="venusA", rows=3), tmp_path / "o", packer=actor(code))
    assert report.options == ("-m", "1:psram")
    assert eval((tmp_path / "record").read_text()) == ["-m", "1:psram"]
    (psram,) = report.memory
    assert (psram.used, psram.available) == (5, 8 * 2**20)

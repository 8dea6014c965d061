"""The program's face: help, usage errors, and one message instead of a traceback."""

import subprocess
import sys
import warnings

import pytest

from linger_jax import LingerError, LingerWarning
from linger_jax.cli import demo_command, main


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def test_the_module_runs_as_a_program_and_lists_its_commands():
    done = subprocess.run([sys.executable, "-m", "linger_jax", "--help"], capture_output=True, text=True, check=True)
    assert "demo" in done.stdout


def test_help_of_the_demo_names_its_options(capsys):
    code, out, _ = run(capsys, "demo", "--help")
    assert code == 0
    assert all(option in out for option in ("--out", "--seed", "--quick"))


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["demo", "--nonsense"], ["demo", "--seed", "-1"], ["demo", "--seed", "5000000000"]]
)
def test_wrong_usage_exits_with_2(capsys, arguments):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert arguments[1 if len(arguments) > 1 else 0] in err
    assert out == ""


def test_an_output_folder_that_is_a_file_is_one_message_and_exit_1(capsys, tmp_path):
    file = tmp_path / "taken"
    file.write_text("")
    code, out, err = run(capsys, "demo", "--out", str(file))
    assert code == 1
    assert out == ""
    assert err == (
        f"error: {file}: cannot be written (Not a directory); what should be a folder is a file; name another place\n"
    )


def test_markup_in_a_message_is_printed_as_it_is(capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise LingerError("config.yaml: part1.name[0]: [bold]no such layer[/bold]")

    monkeypatch.setattr("linger_jax.cli.demo.run_demo", fail)
    code, _, err = run(capsys, "demo")
    assert (code, err) == (1, "error: config.yaml: part1.name[0]: [bold]no such layer[/bold]\n")


def test_other_exceptions_keep_their_traceback(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("linger_jax.cli.demo.run_demo", fail)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main(["demo"])


def test_our_warnings_are_messages_and_the_hook_is_gone_afterwards(capsys, monkeypatch):
    def warn(*args, **kwargs):
        warnings.simplefilter("always")
        warnings.warn("layer fc stays float", LingerWarning, stacklevel=1)

    before = warnings.showwarning
    monkeypatch.setattr("linger_jax.cli.demo.run_demo", warn)
    code, _, err = run(capsys, "demo")
    assert (code, err) == (0, "warning: layer fc stays float\n")
    assert warnings.showwarning is before


def test_a_missing_extra_says_what_to_install(capsys, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("linger_jax.cli.demo.") or n == "linger_jax.cli.demo"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("linger_jax.cli.demo", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    code, _, err = run(capsys, "demo")
    assert code == 1
    assert "the demo needs sklearn: pip install 'linger-jax[demo]'" in err
    assert demo_command

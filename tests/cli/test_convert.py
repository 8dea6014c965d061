"""``linger-jax convert`` and ``inspect``: what they write, what they print, and how they fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
import pytest
import torch

from linger_jax.cli import main
from linger_jax.cli.inspect_command import sparkline
from linger_jax.cli.variables_folder import read_variables
from tests.cli.unwritable import UNWRITABLE, is_one_line, prepare, space_for


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.Conv(4, (3, 3), padding=1, name="conv")(x))
        return nn.Dense(2, name="fc")(x.reshape(len(x), -1))


WIDE = Net
NOTHING = 3
MODEL = f"{__name__}:Net"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    state = {"conv": torch.nn.Conv2d(3, 4, 3), "fc": torch.nn.Linear(4 * 6 * 5, 2)}
    torch.save(torch.nn.ModuleDict(state).state_dict(), tmp_path / "float.pt")
    return tmp_path / "float.pt"


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def test_a_checkpoint_becomes_a_folder_of_variables(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, names = saved.parent / "ckpt", saved.parent / "names.yaml"
    code, printed, _ = run(
        capsys, "convert", saved, "--model", MODEL, "--input", "1x3x6x5", "--out", out, "--save-mapping", names
    )
    assert code == 0
    assert "4 tensors imported (4 by name)" in printed
    want = torch.load(saved, weights_only=True)["conv.weight"].numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(read_variables(out)["params"]["conv"]["kernel"], want)
    assert "fc.weight: params.fc.kernel" in names.read_text()
    code, printed, _ = run(capsys, "inspect", out)
    assert code == 0
    assert "params.conv.kernel" in printed.replace("\n", "")
    assert "4 tensors, 354 numbers" in printed


def test_a_dry_run_writes_nothing(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = saved.parent / "ckpt"
    shape = ("--input", "1x6x5x3", "--channels-last")
    code, printed, _ = run(capsys, "convert", saved, "--model", MODEL, *shape, "--out", out, "--dry-run")
    assert code == 0
    assert "dry run" in printed
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--model": "Net"}, "write it as package.module:Name"),
        ({"--model": "nowhere.at:all"}, "cannot be imported"),
        ({"--model": f"{__name__}:NOTHING"}, "cannot be made without arguments"),
        ({"--model": f"{__name__}:Path"}, "not a flax.linen Module"),
        ({"--input": "1x-3"}, "write a shape such as"),
        ({"--input": "1x3:int9"}, "int9 is none of"),
        ({"--mapping": "nothing.yaml"}, "no such file"),
    ],
)
def test_wrong_arguments_are_one_message(
    saved: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
) -> None:
    options = {"--model": MODEL, "--input": "1x3x6x5", "--out": str(saved.parent / "ckpt"), **changes}
    code, _, err = run(capsys, "convert", saved, *(word for pair in options.items() for word in pair))
    assert code == 1
    assert message in err.replace("\n", " ")
    assert not (saved.parent / "ckpt").exists()


class Sequences(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Conv(4, (3,), name="conv")(x)


def test_inputs_of_three_axes_are_taken_as_flax_has_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, out = torch.nn.ModuleDict({"conv": torch.nn.Conv1d(3, 4, 3, padding=1)}).state_dict(), tmp_path / "ckpt"
    torch.save(state, tmp_path / "float.pt")
    given = ("convert", tmp_path / "float.pt", "--model", f"{__name__}:Sequences", "--out", out, "--input")
    code, _, err = run(capsys, *given, "1x3x9")
    assert code == 1
    assert "--input 1x3x9: three axes are taken as the Flax model has them" in err.replace("\n", " ")
    assert not out.exists()
    assert run(capsys, *given, "1x9x3")[0] == 0
    assert read_variables(out)["params"]["conv"]["kernel"].shape == (3, 3, 4)


def test_a_folder_that_exists_is_not_touched(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "convert", saved, "--model", MODEL, "--input", "1x3x6x5", "--out", saved.parent)
    assert code == 1
    assert "exists already" in err
    assert saved.exists()


def test_a_damaged_file_leaves_no_output(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved.write_bytes(saved.read_bytes()[:500])
    out = saved.parent / "ckpt"
    code, _, err = run(capsys, "convert", saved, "--model", MODEL, "--input", "1x3x6x5", "--out", out)
    assert code == 1
    assert "truncated" in err
    assert not out.exists()


def test_inspect_shows_ranges_and_what_is_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {"a": torch.tensor([[-1.5, 2.0], [0.0, 0.25]]), "b": torch.tensor([1.0, float("nan")])}
    torch.save(tensors | {"c": torch.tensor(7), "d": torch.zeros(0)}, tmp_path / "x.pt")
    code, printed, _ = run(capsys, "inspect", tmp_path / "x.pt")
    assert code == 0
    assert "-1.5" in printed
    assert "1 not finite" in printed.replace("\n", " ") or "1 not" in printed
    assert "4 tensors, 7 numbers" in printed


def test_inspect_of_nothing_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "inspect", tmp_path / "none.pt")
    assert code == 1
    assert "no such file" in err


def test_a_sparkline_has_its_peak_where_the_numbers_are() -> None:
    line = sparkline(np.concatenate([np.zeros(90), np.ones(10)]))
    assert len(line) == 16
    assert line[0] == "█"
    assert line[-1] == "▁"
    assert line[1:-1].strip() == ""
    assert sparkline(np.ones(5)) == ""


def test_a_dry_run_of_a_linger_checkpoint(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = saved.parent / "cfg.yaml"
    config.write_text("quant_info: {qat_method: MOM}\n")
    out = saved.parent / "ckpt"
    options = ("--model", MODEL, "--input", "1x3x6x5", "--config", config, "--out", out, "--dry-run")
    code, printed, _ = run(capsys, "convert", saved, *options)
    assert code == 0
    assert "dry run" in printed
    assert not out.exists()


@pytest.mark.parametrize(("out", "reason"), UNWRITABLE.items())
def test_a_folder_that_cannot_be_written_is_one_line_and_leaves_nothing(
    saved: Path, out: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = prepare(tmp_path)
    code, _, err = run(capsys, "convert", saved, "--model", MODEL, "--input", "1x3x6x5", "--out", tmp_path / out)
    assert code == 1
    assert is_one_line(err, reason), err
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("size", [0, 100, 600])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    saved: Path, size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with space_for(size):
        code, _, err = run(capsys, "convert", saved, "--model", MODEL, "--input", "1x3x6x5", "--out", tmp_path / "ckpt")
    assert code == 1
    assert is_one_line(err, "File too large"), err
    assert caplog.records == []  # what orbax logs would be printed, too
    assert list(tmp_path.iterdir()) == [saved]

"""``linger-jax run``: the same numbers as evaluation, in files, and one message for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

import linger_jax
from linger_jax.cli import main
from tests.cli.unwritable import UNWRITABLE, is_one_line, prepare, space_for


class Both(nn.Module):
    @nn.compact
    def __call__(self, left: Any, right: Any) -> Any:
        return nn.Dense(3)(left) + nn.relu(nn.Dense(3)(right))


class Exported:
    """A file, what goes in, and what evaluation makes of it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.left, self.right = folder / "both.onnx", folder / "left.npy", folder / "right.npy"
        left, right = (np.asarray(jax.random.normal(jax.random.key(i), (5, 4))) for i in range(2))
        qmodel = linger_jax.init(Both(), {"platform": "arcs"})
        variables = qmodel.init(jax.random.key(2), left, right)
        variables = linger_jax.calibrate(qmodel, variables, [(left, right)], progress=False)
        linger_jax.export_onnx(qmodel, variables, (left[:1], right[:1]), self.path, dialect="linger")
        np.save(self.left, left)
        np.save(self.right, right)
        self.arrays = {"left": left, "right": right}
        self.expected = np.asarray(qmodel.apply(variables, left, right))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("exported"))


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err.replace("\n", " ")


@pytest.mark.parametrize("form", ["in order", "by name", "one file"])
def test_results_equal_evaluation(
    exported: Exported, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "all.npz", **exported.arrays)
    inputs = {
        "in order": ("--input", exported.left, "--input", exported.right),
        "by name": ("--input", f"right={exported.right}", "--input", f"left={exported.left}"),
        "one file": ("--input", tmp_path / "all.npz"),
    }[form]
    code, printed, _ = run(capsys, "run", exported.path, *inputs, "--output", tmp_path / "y.npz")
    assert code == 0
    with np.load(tmp_path / "y.npz") as results:
        assert results.files == ["y"]
        np.testing.assert_array_equal(results["y"], exported.expected)
        assert results["y"].dtype == np.float32
    assert "5x3" in printed
    assert "8 bits, scale" in printed


def test_integers_are_what_the_device_returns(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--input", exported.left, "--input", exported.right, "--integers", "-o", tmp_path / "y.npy")
    assert run(capsys, "run", exported.path, *arguments)[0] == 0
    steps = np.load(tmp_path / "y.npy")
    assert steps.dtype == np.int8
    scale = next(n for n in linger_jax.OnnxRunner(exported.path).graph.nodes if n.op == "linger::Dequant").scale(
        "scale_o"
    )
    np.testing.assert_array_equal(steps / np.float32(scale), exported.expected)


def test_a_dump_holds_every_tensor_in_both_forms(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--input", exported.left, "--input", exported.right, "--dump", tmp_path / "d", "--dump-format", "all")
    code, printed, _ = run(capsys, "run", exported.path, *arguments)
    assert code == 0
    runner = linger_jax.OnnxRunner(exported.path)
    files = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert len(files) == 2 * len(runner.tensor_names) - 1  # y itself has no integers
    assert f"{len(files)} files" in printed
    quantized = runner.run_quantized(exported.arrays, runner.tensor_names)
    name = runner.tensor_names[0]
    np.testing.assert_array_equal(np.load(tmp_path / "d" / f"0000_{name}.quantized.npy"), quantized[name].value)


def test_another_tensor_may_be_asked_for(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--input", exported.left, "--input", exported.right, "--special-key", "0", "--special-key", "left")
    assert run(capsys, "run", exported.path, *arguments, "-o", tmp_path / "t.npz")[0] == 0
    with np.load(tmp_path / "t.npz") as results:
        np.testing.assert_array_equal(results["left"], exported.arrays["left"])
        quant = linger_jax.OnnxRunner(exported.path).graph.nodes[0]
        scale = np.float32(quant.scale("scale_x"))
        steps = np.clip(np.floor(exported.arrays[quant.inputs[0]] * scale + np.float32(0.5)), -128, 127)
        np.testing.assert_array_equal(results["0"], steps / scale)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "LEFT"], "takes 2 input(s), left, right; 1 were given"),
        (["--input", "LEFT", "--input", "middle=RIGHT"], "no input 'middle'; it takes left, right"),
        (["--input", "left=LEFT", "--input", "left=RIGHT"], "left was given before"),
        (["--input", "nowhere.npy", "--input", "RIGHT"], "nowhere.npy: no such file"),
        (["--input", "LEFT", "--input", "PICKLED"], "no .npy or .npz file of plain arrays"),
        (["--input", "LEFT", "--input", "MODEL"], "no .npy or .npz file of plain arrays"),
        (["--input", "LEFT", "--input", "SHORT"], "input right has shape (5, 2); the file declares (1, 4)"),
        (["--input", "LEFT", "--input", "RIGHT", "--special-key", "lift"], "did you mean left?"),
        (["--input", "LEFT", "--input", "RIGHT", "--output", "y.txt"], "write .npz"),
        (["--input", "LEFT", "--input", "RIGHT", "--batch-axis", "x"], "write an axis such as 1"),
        (["--input", "LEFT", "--input", "RIGHT", "--batch-axis", "up=1"], "no input 'up'"),
        (["--input", "LEFT", "--input", "RIGHT", "--special-key", "left", "--integers"], "left is not quantized"),
        (["--input", "LEFT", "--input", "RIGHT", "--dump", "MODEL"], "is a file; name a folder"),
    ],
)
def test_a_mistake_is_one_message_and_no_file(
    exported: Exported, arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "short.npy", np.zeros((5, 2), np.float32))
    places = {"LEFT": exported.left, "RIGHT": exported.right, "MODEL": exported.path}
    places |= {"PICKLED": tmp_path / "pickled.npy", "SHORT": tmp_path / "short.npy"}
    words = []
    for argument in arguments:
        name, equals, last = argument.rpartition("=")
        words.append(f"{name}{equals}{places.get(last, last)}")
    if "--output" not in arguments:
        words += ["--output", str(tmp_path / "y.npz")]
    code, printed, err = run(capsys, "run", exported.path, *words)
    assert (code, printed) == (1, "")
    assert message in err
    assert not (tmp_path / "y.npz").exists()


def test_arrays_have_any_name(tmp_path: Path) -> None:
    from linger_jax.cli.run.array_files import write_arrays

    arrays = {name: np.arange(3, dtype=np.int8) for name in ("file", "allow_pickle", "layer.1/out")}
    write_arrays(tmp_path / "y.npz", arrays)
    with np.load(tmp_path / "y.npz") as results:
        assert {name: results[name].tolist() for name in results.files} == {name: [0, 1, 2] for name in arrays}


@pytest.mark.parametrize(("out", "reason"), UNWRITABLE.items())
@pytest.mark.parametrize("option", ["--output", "--dump"])
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(
    exported: Exported, option: str, out: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = prepare(tmp_path)
    place = tmp_path / (f"{out}.npz" if option == "--output" else out)
    inputs = ("--input", exported.left, "--input", exported.right)
    code, printed, err = run(capsys, "run", exported.path, *inputs, option, place)
    assert (code, printed) == (1, "")
    assert is_one_line(err.strip(), reason), err
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["y.npy", "y.npz"])
def test_a_full_disk_leaves_the_older_results(
    exported: Exported, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(b"old")
    inputs = ("--input", exported.left, "--input", exported.right)
    with space_for(100):
        code, printed, err = run(capsys, "run", exported.path, *inputs, "--output", tmp_path / name)
    assert (code, printed) == (1, "")
    assert is_one_line(err.strip(), "File too large"), err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_nan_among_the_inputs_is_refused_with_its_position(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = exported.arrays["left"].copy()
    spoilt[3, 1] = np.nan
    np.save(tmp_path / "left.npy", spoilt)
    inputs = ("--input", tmp_path / "left.npy", "--input", exported.right)
    code, printed, err = run(capsys, "run", exported.path, *inputs, "--output", tmp_path / "y.npz")
    assert (code, printed) == (1, "")
    assert "input left is NaN at [3, 1]; integers have no such value" in err
    assert not (tmp_path / "y.npz").exists()

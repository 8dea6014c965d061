"""``linger-jax export``: files from both kinds of checkpoint, what is told about them, and how it fails."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch

import linger_jax
from linger_jax import converters
from linger_jax.cli import main
from linger_jax.cli.variables_folder import write_variables
from tests.cli.unwritable import UNWRITABLE, is_one_line, prepare


class Net(nn.Module):
    kernel: int = 3

    @nn.compact
    def __call__(self, image: Any) -> Any:
        x = nn.relu(nn.Conv(4, (self.kernel, self.kernel), padding=1, name="conv")(image))
        return nn.Dense(2, name="fc")(x.reshape(len(x), -1))


class Refused(nn.Module):
    """Rows that train, and are too long for the chip."""

    @nn.compact
    def __call__(self, image: Any) -> Any:
        return nn.LayerNorm(epsilon=1e-5, name="norm")(nn.Conv(400, (1, 1), name="conv")(image))


MODEL = f"{__name__}:Net"


class Trained:
    """Files of a calibrated model, and what it computes."""

    def __init__(self, folder: Path, model: nn.Module) -> None:
        self.variables, self.checkpoint = folder / "variables", folder / "qat.pt"
        self.float, self.config = folder / "float", folder / "config.yaml"
        linger_jax.config_save_to_yaml(self.config, linger_jax.QuantConfig(platform="arcs"))
        self.images = np.asarray(jax.random.normal(jax.random.key(0), (4, 6, 5, 3)))
        qmodel = linger_jax.init(model, self.config)
        variables = qmodel.init(jax.random.key(1), self.images)
        variables = linger_jax.calibrate(qmodel, variables, [self.images], progress=False)
        write_variables(self.variables, variables)
        write_variables(self.float, {"params": model.init(jax.random.key(1), self.images)["params"]})
        torch.save(converters.to_torch(qmodel, variables, self.images), self.checkpoint)
        self.expected = np.asarray(qmodel.apply(variables, self.images))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"), Net())


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err.replace("\n", " ")


@pytest.mark.parametrize("source", ["variables", "checkpoint"])
def test_a_file_computes_what_the_trained_model_computes(
    trained: Trained, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.onnx"
    options = ("--model", MODEL, "--input", "1x3x6x5", "--config", trained.config, "--out", out)
    code, printed, err = run(capsys, "export", getattr(trained, source), *options)
    assert (code, err) == (0, "")
    runner = linger_jax.OnnxRunner(out)
    (got,) = runner.run(np.moveaxis(trained.images, -1, 1))
    np.testing.assert_array_equal(got, trained.expected)
    assert [entry.name for entry in runner.inputs] == ["image"]
    assert "runs on arcs as it is" in printed
    assert f"next: linger-jax pack {out} --out {tmp_path / 'model.pkg'}" in printed
    scale = runner.graph.nodes[0].scale("scale_x")
    assert f"clip(floor(image * {scale:g} + 0.5))" in printed
    assert "1x3x6x5" in printed
    assert "int8" in printed


def test_names_dialect_and_layout_are_the_users(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.onnx"
    options = ("--model", MODEL, "--input", "1x6x5x3", "--channels-last", "--config", trained.config, "-o", out)
    names = ("--input-names", "picture", "--output-names", "logits", "--dialect", "linger")
    assert run(capsys, "export", trained.variables, *options, *names)[0] == 0
    runner = linger_jax.OnnxRunner(out)
    assert [entry.name for entry in runner.inputs] == ["picture"]
    assert runner.outputs == ("logits",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": "float"}, "holds a float model, no scales (collection quant)"),
        ({"checkpoint": "nowhere"}, "no such file or folder"),
        (
            {"checkpoint": "."},
            "it has neither _METADATA (orbax, as convert and save write it) nor one of model.safetens",
        ),
        ({"--input": "1x3"}, "Net does not run with these variables on inputs of shape 1x3"),
        ({"--platform": "pluto"}, "pluto"),
        ({"--opset": "99"}, "opset 99 is not supported; allowed: 11 to 18"),
        ({"--input-names": "a,b"}, "input_names must be as many different names"),
        ({"--model": f"{__name__}:Refused"}, "expected to generate shape (1, 1, 3, 400)"),
        ({"--out": "."}, "is a folder; name a file"),
        ({"--config": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_a_mistake_is_one_message_and_no_file(
    trained: Trained, changes: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.onnx"
    options: dict[str, Any] = {"--model": MODEL, "--input": "1x3x6x5", "--config": trained.config, "--out": out}
    options |= changes
    checkpoint = options.pop("checkpoint", "variables")
    checkpoint = getattr(trained, checkpoint, tmp_path / checkpoint)
    code, printed, err = run(capsys, "export", checkpoint, *(word for pair in options.items() for word in pair))
    assert (code, printed) == (1, "")
    assert message in err
    assert not out.exists()


@pytest.mark.parametrize(("out", "reason"), UNWRITABLE.items())
def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing(
    trained: Trained, out: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = prepare(tmp_path)
    options = ("--model", MODEL, "--input", "1x3x6x5", "--config", trained.config, "--out", tmp_path / out)
    code, printed, err = run(capsys, "export", trained.variables, *options)
    assert (code, printed) == (1, "")
    assert is_one_line(err.strip(), reason), err
    assert set(tmp_path.rglob("*")) == before


def test_a_device_gets_the_file_and_nothing_is_read_back(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--model", MODEL, "--input", "1x3x6x5", "--config", trained.config, "--out")
    code, printed, err = run(capsys, "export", trained.variables, *options, "/dev/null")
    assert (code, printed, err.strip()) == (0, "", "/dev/null: written, dialect thinker")
    code, printed, err = run(capsys, "export", trained.variables, *options, "/dev/full")
    assert (code, printed) == (1, "")
    assert is_one_line(err.strip(), "No space left on device"), err
    assert Path("/dev/null").is_char_device()
    assert Path("/dev/full").is_char_device()


def test_what_the_chip_refuses_is_written_only_without_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, out = Trained(tmp_path, Refused()), tmp_path / "model.onnx"
    options = ("--model", f"{__name__}:Refused", "--input", "1x3x6x5", "--config", trained.config, "--out", out)
    code, _, err = run(capsys, "export", trained.variables, *options)
    assert code == 1
    assert "norm" in err
    assert not out.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, printed, err = run(capsys, "export", trained.variables, *options, "--no-strict")
    assert code == 0
    assert "warning:" in err
    assert "QLayerNorm" in err
    assert "does not run on arcs as it is" in printed
    assert "next:" not in printed
    assert out.exists()

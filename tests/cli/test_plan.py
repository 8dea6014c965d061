"""``linger-jax plan``: what a chip will make of a model that nobody has trained."""

from __future__ import annotations

from pathlib import Path

import flax.linen as nn
import pytest

import linger_jax
from linger_jax.cli import main


class Net(nn.Module):
    @nn.compact
    def __call__(self, image):
        x = nn.relu(nn.Conv(4, (3, 3), name="conv")(image))
        return nn.Dense(2, name="fc")(x.reshape(len(x), -1))


class Refused(nn.Module):
    @nn.compact
    def __call__(self, image):
        return nn.glu(nn.Conv(4, (3, 3), name="conv")(image))


def planned(folder: Path, model: str, platform: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status, and what is printed with all space as one blank."""
    linger_jax.config_save_to_yaml(folder / "chip.yaml", linger_jax.QuantConfig(platform=platform))
    arguments = ["plan", "--model", f"{__name__}:{model}", "--config", str(folder / "chip.yaml"), "--input", "4x3x6x6"]
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0), " ".join(capsys.readouterr().out.split())


def test_a_model_that_packs(tmp_path, capsys):
    status, text = planned(tmp_path, "Net", "arcs", capsys)
    assert status == 0
    assert "arcs runs it" in text
    assert "memory of arcs, bytes" in text


def test_a_model_that_the_chip_refuses(tmp_path, capsys):
    status, text = planned(tmp_path, "Refused", "arcs", capsys)
    assert status == 1
    assert "the executor of arcs computes other values" in text
    assert "arcs does not run it as it is: 1 refused" in text


def test_a_chip_that_nothing_is_known_of(tmp_path, capsys):
    status, text = planned(tmp_path, "Net", "jupiter", capsys)
    assert status == 1
    assert "jupiter: not judged" in text

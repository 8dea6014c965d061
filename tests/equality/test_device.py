"""A drawn model on a chip: what packer and executor do is the outcome, here done by a program that stands in."""

import numpy as np
import pytest

from linger_jax.targets import Platform
from tests.equality.device import judging
from tests.equality.device.drawing import SAMPLES, draw_for_device
from tests.equality.device.simulator import Device, Ran, SimulatorError
from tests.equality.test_judging import SMALL

CASE = SMALL.__class__(SMALL.inputs, SMALL.lines, SMALL.outputs, SMALL.config, SMALL.numbers, batch=SAMPLES)


class Acts:
    """In the place of packer and executor: gives the outputs of a run, changed."""

    def __init__(self, change=lambda y: y, outcome="ran"):
        self.change, self.outcome = change, outcome

    def run(self, file, samples, outputs):
        if self.outcome != "ran":
            return Ran(self.outcome, message="code 4003")
        integers = judging.Integers(file, self.inputs(file))
        found = integers.of(integers.outputs)
        return Ran("ran", tuple(tuple(self.change(y) for y in values.values()) for values in found))

    def inputs(self, file):
        return (np.asarray(judging.made(CASE)["inputs"][0]),)


@pytest.mark.parametrize(
    ("device", "outcome"),
    [
        (Acts(), "equal"),
        (Acts(lambda y: y + 1), "differs"),
        (Acts(lambda y: y[..., :1]), "differs"),
        (Acts(outcome="hang"), "hang"),
        (Acts(outcome="packer refuses"), "packer refuses"),
        (Acts(outcome="not judged"), "not judged"),
    ],
)
def test_what_the_device_does_is_the_outcome(monkeypatch, device, outcome):
    monkeypatch.setattr(judging, "_first_at_fault", lambda *given: None)
    assert judging.judge(CASE, device, refused_too=False).outcome == outcome


def test_what_is_drawn_for_a_device_is_calibrated_in_the_arithmetic_of_the_chip():
    for index in range(20):
        case = draw_for_device(1, index, None, Platform.arcs)
        assert case == draw_for_device(1, index, None, Platform.arcs)
        assert "compat" not in case.configuration
        assert (case.batch, case.numbers.steps, case.numbers.calibrated) == (SAMPLES, 0, True)


def test_a_simulator_without_its_function_is_named(tmp_path, monkeypatch):
    script = tmp_path / "simulate.py"
    script.write_text("x = 1\n")
    monkeypatch.setattr("linger_jax.pack", lambda *given, **options: type("Report", (), {"platform": Platform.arcs}))
    with pytest.raises(SimulatorError, match=r"simulate\.py: has no function run"):
        Device(script).run(tmp_path / "m.onnx", [[np.zeros(3, np.int8)]], 1)

"""``linger-jax demo --quick`` from end to end."""

import json
import subprocess
import sys

import matplotlib.image
import pytest

import linger_jax

STAGES = ["float, PyTorch", "float, Flax", "constrained", "PTQ W8A8", "QAT W8A8 TQT"]


@pytest.mark.slow
def test_the_demo_runs_from_end_to_end(tmp_path):
    pytest.importorskip("torch")
    # A process of its own, as for a user: optax's schedules do not run under the promotion rules of these tests.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "linger_jax", "demo", "--quick", "--seed", "1", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""

    stages = {stage["name"]: stage for stage in json.loads((tmp_path / "results.json").read_text())}
    assert list(stages) == STAGES
    assert stages["float, PyTorch"]["accuracy"] == stages["float, Flax"]["accuracy"]
    assert stages["QAT W8A8 TQT"]["accuracy"] > 50, "two epochs after a random start: far above chance"
    assert stages["QAT W8A8 TQT"]["kib"] < 0.3 * stages["float, Flax"]["kib"]
    assert len(stages["QAT W8A8 TQT"]["curves"]["loss"]) == 1

    assert all(name in done.stdout for name in STAGES)
    assert "outputs differ by at most" in done.stdout

    height, width, _ = matplotlib.image.imread(tmp_path / "demo.png").shape
    assert height > 1000
    assert width > 1000
    assert "OIHW -> HWIO" in (tmp_path / "import.txt").read_text()

    plan = (tmp_path / "w8a8-tqt" / "plan.txt").read_text()
    assert "block_2._linger_qtensor_qadd_0" in plan
    assert "float" not in plan
    assert linger_jax.load_config(tmp_path / "w8a8-tqt" / "config.yaml").quant_info.qat_method.name == "TQT"
    assert (tmp_path / "w8a8-tqt" / "checkpoint").is_dir()

    assert "it equals evaluation bit for bit on all 720 test images" in done.stdout
    assert f"({stages['QAT W8A8 TQT']['accuracy']:.2f} %)" in done.stdout
    assert "Device check: runs on" in done.stdout
    exported = linger_jax.OnnxRunner(tmp_path / "w8a8-tqt" / "digits.onnx")
    assert [entry.shape for entry in exported.inputs] == [(1, 1, 8, 8)]
    assert linger_jax.check_onnx(tmp_path / "w8a8-tqt" / "digits.onnx").ok

"""The packer itself, on both sides of its limits."""

import onnx
import pytest

import linger_jax
from linger_jax.errors import PackError
from linger_jax.export.lint import Severity
from tests.export.lint.boundaries import BOUNDARIES


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.packer
@pytest.mark.filterwarnings("ignore:.*does not run it as it is:linger_jax.LingerWarning")
@pytest.mark.parametrize("name", BOUNDARIES)
def test_the_packer_takes_what_the_lint_does_not_refuse(name, tpacker, tmp_path):
    model = BOUNDARIES[name][1]("arcs")
    onnx.save(model, tmp_path / "model.onnx")

    def pack():
        linger_jax.pack(tmp_path / "model.onnx", tmp_path / "package", strict=False, packer=tpacker)

    if any(f.severity is Severity.refuse for f in linger_jax.check_onnx(model).findings):
        with pytest.raises(PackError):
            pack()
    else:
        pack()

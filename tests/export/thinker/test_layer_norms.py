"""LayerNorms in the executor's arithmetic: in the form that it reads, equal to evaluation."""

import flax.linen as nn
import numpy as np
import pytest

import linger_jax
from linger_jax.errors import DeviceLintError
from tests.models import prepared, random_array

BOTH = pytest.mark.parametrize("platform", ["arcs", "venusA"])


class Block(nn.Module):
    axes: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x):
        axes = tuple(range(-self.axes, 0))
        x = nn.Dense(12)(x)
        return x + nn.LayerNorm(epsilon=1e-5, reduction_axes=axes, feature_axes=axes, use_bias=self.use_bias)(x)


def exported(model, x, platform, arithmetic, path):
    config = {"platform": platform, "quant_info": {"arithmetic": arithmetic}}
    qmodel, variables = prepared(model, x, config=config)
    variables = linger_jax.calibrate(qmodel, variables, [(x,)], progress=False)
    linger_jax.export_onnx(qmodel, variables, x[:1], path)
    return qmodel.apply(variables, x)


@BOTH
@pytest.mark.parametrize(
    ("model", "shape"), [(Block(), (2, 5, 8)), (Block(use_bias=False), (2, 8)), (Block(axes=2), (2, 3, 4, 8))]
)
def test_rows_are_the_last_of_three_axes_and_the_file_computes_what_evaluation_does(platform, model, shape, tmp_path):
    x = random_array(0, *shape)
    evaluated = exported(model, x, platform, "executor", tmp_path / "m.onnx")
    runner = linger_jax.OnnxRunner(tmp_path / "m.onnx")
    (node,) = (n for n in runner.graph.nodes if n.written == "LayerNormInt")
    (weight, bias) = (runner.graph.constants[name] for name in node.inputs[1:])
    row = 12 * (shape[-2] if model.axes == 2 else 1)
    assert (weight.shape, weight.dtype, bias.shape, bias.dtype) == ((row,), np.int8, (row,), np.int32)
    np.testing.assert_array_equal(runner.run(x)[0], evaluated)


@BOTH
def test_in_linger_s_arithmetic_it_is_refused_with_the_way_out(platform, tmp_path):
    with pytest.raises(DeviceLintError, match=r"quant_info\.arithmetic: executor"):
        exported(Block(), random_array(0, 2, 5, 8), platform, "linger", tmp_path / "m.onnx")

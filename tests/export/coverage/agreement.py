"""A model and its file on random inputs: they must agree to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import onnx

import linger_jax
from tests.models import CALIBRATED_QUICKLY, initialised, random_array


class Raw(nn.Module):
    """A function of the input and of parameters of some shapes, which belong to no layer."""

    function: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]

    @nn.compact
    def __call__(self, x: Any) -> Any:
        init = nn.initializers.normal(0.5)
        return self.function(x, *(self.param(f"w{i}", init, shape) for i, shape in enumerate(self.shapes)))


def agreeing(
    folder: Path, model: nn.Module, *inputs: Any, platform: str = "arcs", samples: int = 2, **kwargs: Any
) -> dict[str, list[str]]:
    """Exports a calibrated model and compares the file with evaluation on the inputs and on further ones.

    Returns:
      The operators of the nodes, but for Quant and Dequant, under ``ops``; all initializers under ``constants``.
    """
    qmodel = linger_jax.init(model, {"platform": platform, "quant_info": CALIBRATED_QUICKLY})
    variables = initialised(qmodel, *inputs, **kwargs)
    variables = linger_jax.calibrate(qmodel, variables, [inputs], progress=False, **kwargs)
    path = linger_jax.export_onnx(qmodel, variables, inputs, folder / "model.onnx", dialect="linger", **kwargs)
    graph = onnx.load(path).graph
    runner = linger_jax.OnnxRunner(path)
    evaluate = jax.jit(lambda variables, *given: qmodel.apply(variables, *given, **kwargs))
    for sample in range(samples):
        given = [x if sample == 0 else _other(x, sample) for x in inputs]
        results = runner.run([_laid_out(x, entry.shape) for x, entry in zip(given, runner.inputs, strict=True)])
        expected = evaluate(variables, *given)
        names = list(expected) if isinstance(expected, dict) else list(runner.outputs)
        assert list(runner.outputs) == names
        for name, got, wanted in zip(names, results, jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(got, _laid_out(wanted, got.shape), err_msg=name)
            if sample == 0 and np.issubdtype(got.dtype, np.floating) and got.size > 3:
                assert np.unique(got).size > 2, name  # neither all zero nor saturated
    operators = [node.op_type for node in graph.node]
    return {
        "ops": [op for op in operators if op not in ("Quant", "Dequant")],
        "constants": [tensor.name for tensor in graph.initializer],
    }


def _other(x: jax.Array, seed: int) -> jax.Array:
    if np.issubdtype(x.dtype, np.integer):
        return jax.random.permutation(jax.random.key(seed), x.reshape(-1)).reshape(x.shape)
    return random_array(seed, *x.shape, scale=1.5)


def _laid_out(array: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Channels first, where the file has it so."""
    array = np.asarray(array)
    return array if array.shape == shape else np.moveaxis(array, -1, 1)

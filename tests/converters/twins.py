"""One network written twice: a PyTorch module, and a Flax model that takes the same numbers channels-last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import torch

from linger_jax import converters

TOLERANCE = 1e-5
"""Of the largest magnitude of the output: both frameworks add up in float32, in different orders."""


def randomized(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The module in evaluation mode, with every tensor drawn anew, so that no two are equal and no norm is trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * (0.5 if tensor.ndim > 1 else 0.2))
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.5)
                elif tensor.ndim == 1 and name.endswith("weight"):
                    tensor.add_(1.0)
    return module.eval()


def channels_last(array: np.ndarray) -> np.ndarray:
    """NCHW to NHWC, NCW to NWC."""
    return np.moveaxis(array, 1, -1) if array.ndim >= 3 else array


def example(*shape: int, seed: int = 1) -> np.ndarray:
    """Inputs in PyTorch's layout."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def largest_difference(
    module: torch.nn.Module,
    model: nn.Module,
    variables: Mapping[str, Any],
    x: np.ndarray,
    flax_x: np.ndarray | None = None,
) -> float:
    """Between the outputs, relative to the largest magnitude."""
    with torch.no_grad():
        want = module(torch.from_numpy(x)).numpy()
    got = np.asarray(model.apply(variables, channels_last(x) if flax_x is None else flax_x))
    want = channels_last(want) if want.ndim >= 4 or (want.ndim >= 3 and want.shape != got.shape) else want
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))


def assert_twins(
    module: torch.nn.Module,
    model: nn.Module,
    x: np.ndarray,
    *,
    flax_x: np.ndarray | None = None,
    seed: int = 0,
    **options: Any,
) -> converters.ImportReport:
    """Imports a randomised module, compares the outputs, and exports it again to the bit; returns the report."""
    module = randomized(module, seed)
    inputs = channels_last(x) if flax_x is None else flax_x
    variables, report = converters.from_torch(module.state_dict(), model, inputs, **options)
    want = jax.eval_shape(model.init, jax.random.key(0), inputs)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), variables) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), want
    )
    difference = largest_difference(module, model, variables, x, flax_x)
    assert difference <= TOLERANCE, difference
    orders = {name: value for name, value in options.items() if name == "flatten_order"}
    assert_same_state(converters.to_torch(model, variables, inputs, mapping=report, **orders), module, report)
    return report


def assert_same_state(
    written: Mapping[str, torch.Tensor], module: torch.nn.Module, report: converters.ImportReport
) -> None:
    """An exported state dict is the module's own, to the bit; what the import dropped on purpose is left out."""
    left_out = {key for key, _ in report.dropped} - report.tied.keys()
    want = {key: value for key, value in module.state_dict().items() if key not in left_out}
    counters = {key for key in written if key.endswith("num_batches_tracked")}
    assert written.keys() - counters == want.keys()
    for key, tensor in want.items():
        assert written[key].dtype == tensor.dtype
        np.testing.assert_array_equal(written[key].numpy(), tensor.numpy(), err_msg=key)

"""Replays the checkpoints: a saved state dict, imported into the model written for Flax, evaluated.

Sizes are read off the checkpoint alone; the models are those of the trajectories.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

import linger_jax
from linger_jax import converters
from tests.golden import compare, tolerances
from tests.golden.device.imported import as_arrays, without_counters
from tests.golden.models.layer_form import configuration
from tests.golden.models.trajectory import Cnn, Mlp
from tests.golden.outcome import NotSupportedError

Shapes = Mapping[str, tuple[int, ...]]


def replay(case: Mapping[str, np.ndarray], meta: Mapping[str, Any], path: Path) -> list[str]:
    """Mismatches of one checkpoint; none when it passes.

    Args:
      case: arrays of the file: ``in.x`` and ``out.y``.
      meta: its description.
      path: the ``.pt`` beside it.

    Raises:
      NotSupportedError: a checkpoint from quantization-aware training, or another model.
    """
    shapes = _shapes(path)
    x = np.asarray(case["in.x"])
    model = _model(shapes)
    inputs = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
    if any("_quantizer." in key for key in shapes):
        return _replay_quantized(case, meta, path, model, inputs)
    variables, report = converters.from_torch(path, model, inputs)
    wrong = [f"{key} was not imported" for key in shapes.keys() - _accounted(report)]
    written = as_arrays(converters.to_torch(model, variables, inputs, mapping=report))
    wrong += compare.same_arrays("state", without_counters(written), without_counters(as_arrays(_tensors(path))))
    got = jax.jit(model.apply)(variables, inputs)
    return wrong + tolerances.float_value("y", np.asarray(got), case["out.y"])


def _replay_quantized(
    case: Mapping[str, np.ndarray], meta: Mapping[str, Any], path: Path, model: nn.Module, inputs: np.ndarray
) -> list[str]:
    """The same of a checkpoint from quantization-aware training, to the bit, and back into a state dict."""
    fused = model if not meta.get("fused") else linger_jax.trace_layers(model, _abstract(model, inputs), inputs)[0]
    qmodel = linger_jax.init(fused, configuration(meta, ()))
    variables, report = converters.load_linger_checkpoint(path, qmodel, None, inputs)
    written = converters.to_torch(qmodel, variables, inputs, mapping=report)
    wrong = compare.same_arrays("state", as_arrays(written), as_arrays(_tensors(path)))
    got = qmodel.apply_qtensor(variables, inputs)
    wrong += compare.same_bits("y", np.asarray(got.value), case["out.y"])
    wrong += compare.same_bits("y.scale", np.asarray(got.scale), case["out.y.scale"])
    return wrong


def _abstract(model: nn.Module, inputs: np.ndarray) -> Any:
    return jax.eval_shape(model.init, jax.random.key(0), inputs)


def _accounted(report: converters.ImportReport) -> set[str]:
    return {row.key for row in report.rows} | {key for key, _ in report.dropped}


def _tensors(path: Path) -> Mapping[str, Any]:
    import torch

    return torch.load(path, weights_only=True, map_location="cpu")


def _shapes(path: Path) -> Shapes:
    return {key: tuple(value.shape) for key, value in _tensors(path).items()}


def _model(shapes: Shapes) -> nn.Module:
    """``fc1, fc2, fc3``, or two convolutions (with BatchNorm beside or inside: ``bn1``, ``conv1.bn``) and ``fc``."""
    if "fc3.weight" in shapes:
        return Mlp(tuple(shapes[f"fc{i}.weight"][0] for i in (1, 2, 3)))
    convolutions = [next((p for p in (f"conv{i}.conv", f"conv{i}") if f"{p}.weight" in shapes), None) for i in (1, 2)]
    if None in convolutions or "fc.weight" not in shapes:
        raise NotSupportedError("a model that the checkpoint cases do not know")
    widths = [shapes[f"{prefix}.weight"][0] for prefix in convolutions]
    biases = [f"{prefix}.bias" in shapes for prefix in convolutions]
    normalized = any(key.endswith(("running_mean", "_linger_ignore_parameter")) for key in shapes)
    return Cnn((widths[0], widths[1], shapes["fc.weight"][0]), (biases[0], biases[1]), normalized)

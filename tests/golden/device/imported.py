"""Replays device cases: the checkpoints imported into a Flax model, evaluated to the bit, every layer of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import linger_jax
from linger_jax import converters
from linger_jax.quantizers import QTensor
from tests.golden import compare
from tests.golden.case import Case
from tests.golden.device.network import DeviceNet, flax_input

Arrays = Mapping[str, np.ndarray]


def replay(case: Case) -> list[str]:
    """Mismatches of one case; none when it passes.

    Args:
      case: with the arrays of ``io.npz``; ``float.pt`` and ``qat.pt`` lie beside it.

    Raises:
      NotSupportedError: a network that the builder does not know.
    """
    meta = case.meta
    arch = meta["arch"]
    folder = case.path.parent
    model = DeviceNet(json.dumps(arch))
    inputs = tuple(device_input(case.arrays, arch, described["name"]) for described in arch["inputs"])
    wrong = _float_checkpoint(folder / "float.pt", model, inputs)

    network = device_network(arch, inputs, fused=meta["fuse_bn"], observed=True)
    qmodel = linger_jax.init(network, configuration(meta))
    variables, report = converters.load_linger_checkpoint(folder / "qat.pt", qmodel, None, inputs)
    written = converters.to_torch(qmodel, variables, inputs, mapping=report)
    wrong += compare.same_arrays("qat.pt", as_arrays(written), as_arrays(_tensors(folder / "qat.pt")))
    output, results = qmodel.apply_qtensor(variables, *inputs)
    wrong += _same("y", output, case.arrays["y_int"], case.arrays["scale_out"])
    for name, want in case.group("act").items():
        # A sigmoid that is a module owns the operator, and has nothing else.
        module = name.partition("._linger_")[0]
        results = {**results, name: results[module]} if name not in results and module in results else results
        if name not in results:
            wrong.append(f"act/{name}: the model has no such layer ({', '.join(results)})")
        else:
            wrong += _same(f"act/{name}", results[name], want, case.arrays[f"act_scale/{name}"])
    return wrong


def device_network(arch: Mapping[str, Any], inputs: tuple[Any, ...], *, fused: bool, observed: bool = False) -> Any:
    """The network of a case, its normalizations fused where linger's tracer fused them.

    Args:
      arch: its description.
      inputs: an example input.
      fused: whether they are.
      observed: whether it returns the results of all layers, too.
    """
    network = DeviceNet(json.dumps(arch), observed=observed, fused=fused)
    if not fused:
        return network
    model = DeviceNet(json.dumps(arch))
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return linger_jax.FusedModel(network, linger_jax.trace_layers(model, shapes, *inputs)[0].fusion)


def configuration(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a case under ``compat: reference``."""
    return {"compat": "reference", "platform": meta["platform"], "quant_info": dict(meta["config"])}


def device_input(arrays: Arrays, arch: Mapping[str, Any], name: str) -> Any:
    """An input of a case as the model takes it."""
    array = arrays[f"x_float_{name}"] if f"x_float_{name}" in arrays else arrays["x_float"]
    array = array.astype(np.int32) if np.issubdtype(array.dtype, np.integer) else array
    return np.asarray(flax_input(arch, name, array))


def as_arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A PyTorch state dict as arrays."""
    return {key: tensor.numpy() for key, tensor in tensors.items()}


def _tensors(path: Path) -> dict[str, Any]:
    import torch

    return torch.load(path, weights_only=True, map_location="cpu")


def _float_checkpoint(path: Path, model: DeviceNet, inputs: tuple[Any, ...]) -> list[str]:
    """The float checkpoint goes in strictly and comes out again; counters of batches are no weights."""
    variables, report = converters.from_torch(path, model, inputs)
    written = as_arrays(converters.to_torch(model, variables, inputs, mapping=report))
    want = as_arrays(_tensors(path))
    return compare.same_arrays("float.pt", without_counters(written), without_counters(want))


def without_counters(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict without BatchNorm's counters of batches, which Flax does not have."""
    return {key: array for key, array in state.items() if not key.endswith("num_batches_tracked")}


def _same(name: str, got: Any, want: np.ndarray, scale: np.ndarray) -> list[str]:
    if not isinstance(got, QTensor):
        return [f"{name}: is not quantized"]
    wrong = compare.same_bits(f"{name}: scale", np.float64(got.scale), np.float64(scale))
    integers = np.asarray(got.value, np.float64) * np.float64(got.scale)
    return wrong + compare.same_bits(name, integers.astype(np.int64), want.astype(np.int64))

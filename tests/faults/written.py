"""Everything that linger_jax writes, with small contents in two versions, made before any process is forked."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import optax
from onnx import TensorProto, helper, numpy_helper

import linger_jax
from linger_jax.cli.demo.checkpoint import save_training_state
from linger_jax.cli.demo.picture import draw
from linger_jax.cli.demo.results import Curves, Stage
from linger_jax.cli.demo.training import TrainState
from linger_jax.cli.run.array_files import write_arrays
from linger_jax.cli.variables_folder import read_variables, write_variables
from linger_jax.converters.files import save_names, write_safetensors_file, write_torch_file
from linger_jax.export import packing
from linger_jax.export.onnx import write_model
from linger_jax.export.packing.packer import PackerRun
from linger_jax.export.runner import write_dump

PARTIAL = ".partial"


@dataclasses.dataclass(frozen=True)
class Target:
    """What one writer writes in a folder.

    Attributes:
      name: of the writer.
      write: writes version 0 or 1 into a folder.
      read: the version of each thing that was written there; raises where one is missing or damaged.
      each_time_new: nothing may be there before, so nothing may be there after a kill.
    """

    name: str
    write: Callable[[Path, int], object]
    read: Callable[[Path], list[int]]
    each_time_new: bool = False

    def leftovers(self, folder: Path) -> list[str]:
        """Names in the folder of what is not yet, or no longer, what the writer writes."""
        return [path.name for path in folder.iterdir() if path.name.endswith(PARTIAL)]


def by_bytes(name: str, write: Callable[[Path, int], object]) -> Target:
    """A writer of files that has the same bytes for the same contents."""
    whole = []
    for version in (0, 1):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), version)
            whole.append({path.name: path.read_bytes() for path in Path(folder).iterdir()})

    def read(folder: Path) -> list[int]:
        found = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(PARTIAL)}
        if set(found) != set(whole[0]):
            raise AssertionError(f"{sorted(set(found) ^ set(whole[0]))} is missing or too much")
        versions = {file: [v for v in (0, 1) if whole[v][file] == content] for file, content in found.items()}
        torn = [f"{file} ({len(found[file])} bytes)" for file, matching in versions.items() if not matching]
        if torn:
            raise AssertionError(f"neither the old nor the new one: {', '.join(torn)}")
        return [matching[0] for matching in versions.values()]

    return Target(name, write, read)


def _arrays(version: int) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(version)
    return {f"layer{i}.weight": random.normal(size=(40 + version, 100)).astype(np.float32) for i in range(4)}


def _model(version: int) -> onnx.ModelProto:
    weight = np.random.default_rng(version).integers(-128, 127, (8, 16)).astype(np.int8)
    common = {"domain": "linger", "platform": "arcs"}
    scales = {"scale_x": 16.0, "scale_w": 64.0, "scale_o": 16.0, "x_bits": 8, "w_bits": 8, "o_bits": 8}
    nodes = [
        helper.make_node("Quant", ["x"], ["0"], "Quant_0", scale_x=16.0, data_bits=8, zero_point=0, **common),
        helper.make_node("QLinear", ["0", "w"], ["1"], "QLinear_1", quant_mode="floor_add", **scales, **common),
        helper.make_node("Dequant", ["1"], ["y"], "Dequant_y", domain="linger", scale_o=16.0),
    ]
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 12), helper.make_opsetid("linger", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=7)


def _stages(version: int) -> list[Stage]:
    curves = Curves((1.0, 0.5), (90.0, 95.0 + version))
    exponents = {"a.weight_quantizer": 6, "a.output_quantizer": 4}
    return [Stage(name="QAT", accuracy=98.0 + version, kib=1.0, seconds=1.0, curves=curves, exponents=exponents)]


def _packs(scratch: Path) -> Callable[[Path, int], object]:
    """``pack`` with a packer that is done at once: what is killed is the writing of its package."""
    onnx.save(_model(0), scratch / "model.onnx")
    for version in (0, 1):
        (scratch / f"{version}.pkg").write_bytes(np.random.default_rng(version).bytes(200_000))
    version_now = 0

    @contextlib.contextmanager
    def packer_run(*_: Any) -> Iterator[PackerRun]:
        yield PackerRun(0, "", scratch / f"{version_now}.pkg")

    packing.pack.__globals__["packer_run"] = packer_run

    def write(folder: Path, version: int) -> None:
        nonlocal version_now
        version_now = version
        packing.pack(scratch / "model.onnx", folder / "model.pkg", packer="/bin/true", strict=False)

    return write


def _tree(version: int) -> dict[str, Any]:
    return {"params": {name: {"kernel": array} for name, array in _arrays(version).items()}}


def _tree_version(folder: Path) -> list[int]:
    kernels = read_variables(folder)["params"]
    for version in (0, 1):
        want = _tree(version)["params"]
        if set(kernels) == set(want) and all(np.array_equal(kernels[k]["kernel"], want[k]["kernel"]) for k in want):
            return [version]
    raise AssertionError(f"{folder.name} holds neither the old nor the new variables")


def _new_variables(folder: Path, version: int, count: Iterator[int]) -> None:
    away = folder.with_name(f"{folder.name}.away")
    if (folder / "variables").exists():
        away.mkdir(exist_ok=True)
        (folder / "variables").rename(away / f"{os.getpid()}.{next(count)}")
    write_variables(folder / "variables", _tree(version))


def _states() -> list[TrainState]:
    states = []
    for version in (0, 1):
        params = _tree(version)["params"]
        states.append(TrainState(step=version, apply_fn=print, params=params, tx=optax.identity(), opt_state=()))
    return states


def targets(scratch: Path) -> list[Target]:
    """All of them.

    Args:
      scratch: a folder for what some of them read.
    """
    configs = [linger_jax.QuantConfig(quant_info={"weight_bits": bits}) for bits in (8, 4)]
    adapters = [linger_jax.CheckpointAdapter([(f"a{version}", "b")] * 100) for version in (0, 1)]
    models, arrays, states = [_model(0), _model(1)], [_arrays(0), _arrays(1)], _states()
    torch_tensors = []
    with contextlib.suppress(ModuleNotFoundError):
        import torch

        torch_tensors = [{key: torch.from_numpy(array) for key, array in version.items()} for version in arrays]
    names = [{f"layer{i}": f"params/layer{i}_{version}" for i in range(100)} for version in (0, 1)]
    files = {
        "configuration": lambda at, v: linger_jax.config_save_to_yaml(at / "config.yaml", configs[v]),
        "fused layers": lambda at, v: adapters[v].save(at / "adapter.json"),
        "ONNX file": lambda at, v: write_model(models[v], at / "model.onnx"),
        "PyTorch file": lambda at, v: write_torch_file(at / "net.pt", torch_tensors[v]),
        "safetensors file": lambda at, v: write_safetensors_file(at / "net.safetensors", arrays[v]),
        "names": lambda at, v: save_names(names[v], at / "names.yaml"),
        "dump": lambda at, v: write_dump(arrays[v], at, "all"),
        "results, npz": lambda at, v: write_arrays(at / "y.npz", arrays[v]),
        "results, npy": lambda at, v: write_arrays(at / "y.npy", {"y": arrays[v]["layer0.weight"]}),
        "package": _packs(scratch),
        "picture": lambda at, v: draw(_stages(v), at / "demo.png"),
    }
    if not torch_tensors:
        del files["PyTorch file"]
    new = functools.partial(_new_variables, count=itertools.count())
    return [
        *(by_bytes(name, write) for name, write in files.items()),
        Target("new variables", new, lambda at: _tree_version(at / "variables"), each_time_new=True),
        Target(
            "training state",
            lambda at, v: save_training_state(at / "state", states[v]),
            lambda at: _tree_version(at / "state"),
        ),
    ]

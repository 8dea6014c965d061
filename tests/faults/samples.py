"""Good files of every kind, tiny, made once; what they hold is compared with what spoilt ones seem to hold."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from flax.traverse_util import flatten_dict

import linger_jax
from linger_jax import converters
from linger_jax.api import CheckpointAdapter
from linger_jax.cli.variables_folder import write_variables
from linger_jax.converters.files import write_safetensors_file
from tests.models import Mlp, drawn, prepared

MODEL = Mlp(hidden=4, classes=2)
X = np.zeros((2, 3), np.float32)
METHODS = ("MOM", "TQT")
KEYS = ("encoder.0.linear.weight", "encoder.0.linear.bias", "encoder.1.linear.weight", "head.weight", "head.bias")
INPUTS = ("left", "right")
GOLDEN = Path(__file__).parent.parent / "golden" / "data" / "device"
CONFIGS = Path(__file__).parent.parent.parent / "configs"


@functools.cache
def quantized(method: str) -> tuple[linger_jax.QuantizedModel, Any]:
    """The tiny model, quantized, with its variables."""
    return prepared(MODEL, X, config={"platform": "arcs", "quant_info": {"qat_method": method}})


def make(folder: Path, readers: Collection[str]) -> None:
    """Writes samples: a folder for each reader, a file or a folder for each sample."""
    for name in readers:
        _MAKERS[name](folder / name)


def _configs(folder: Path) -> None:
    folder.mkdir(parents=True)
    for path in sorted(CONFIGS.glob("*.yaml")):
        shutil.copy(path, folder)
    (folder / "parts.yaml").write_text(
        "platform: venusA\nquant_info: &q {weight_bits: 8, activate_bits: 8}\nclamp_info: {clamp_factor_value: 7}\n"
        "part1: {name: [first, 'second*'], quant_info: *q}\npart2:\n  name: [head]\n  quant_info:\n    <<: *q\n"
    )


def _names(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "names.yaml").write_text(yaml.safe_dump({"encoder.0.linear": "Block_0.Dense_0", "head": None}))
    rules = [[r"encoder\.(\d+)\.linear", r"Block_\1.Dense_0"], [r"(.*)\.bias", None]]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))


def _pairs(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("pairs.yaml", "pairs.json"):
        CheckpointAdapter([("conv1", "bn1"), ("layer.conv2", "layer.bn2")]).save(folder / name)


def float_state() -> dict[str, torch.Tensor]:
    """The tiny model's weights under PyTorch's names."""
    flat = flatten_dict(drawn(MODEL, X)["params"], sep=".")
    return {
        key.replace("kernel", "weight"): torch.from_numpy(np.array(value).T.copy() + 0.125)
        for key, value in flat.items()
    }


def _floats(folder: Path) -> None:
    folder.mkdir(parents=True)
    state = float_state()
    torch.save(state, folder / "plain.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, folder / "wrapped.pth")
    torch.save({k: v.half() for k, v in state.items()}, folder / "half.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    arrays = {key: value.numpy() for key, value in state.items()}
    write_safetensors_file(folder / "plain.safetensors", arrays)
    shards = folder / "shards.folder"
    shards.mkdir()
    places = {key: f"model-{i % 2}.safetensors" for i, key in enumerate(arrays)}
    for name in set(places.values()):
        write_safetensors_file(shards / name, {k: v for k, v in arrays.items() if places[k] == name})
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))


def _quantized(folder: Path) -> None:
    folder.mkdir(parents=True)
    for method in METHODS:
        state = converters.to_torch(*quantized(method), X)
        torch.save(state, folder / f"{method}.pt")
        write_safetensors_file(folder / f"{method}.safetensors", {k: v.numpy() for k, v in state.items()})


def _onnx(folder: Path) -> None:
    folder.mkdir(parents=True)
    for path in sorted(GOLDEN.glob("*/model.onnx")):
        shutil.copy(path, folder / f"{path.parent.name}.onnx")


def _arrays(folder: Path) -> None:
    folder.mkdir(parents=True)
    np.save(folder / "left.npy", np.arange(8, dtype=np.float32).reshape(2, 4))
    np.savez(folder / "both.npz", left=np.ones((2, 4), np.float32), right=np.arange(3))
    np.savez_compressed(folder / "packed.npz", left=np.zeros((64, 64), np.float32), right=np.arange(3.0))


def _orbax(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_variables(folder / "orbax.folder", quantized("MOM")[1])


def _inspected(folder: Path) -> None:
    _floats(folder)
    write_variables(folder / "orbax.folder", quantized("MOM")[1])


def _packer(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "good.log").write_text(
        "\x1b[32mtotal ops of model:1234\x1b[0m\nMemType.PSRAM need capacity: 1024 Bytes\n"
        "MemType.SHARE_MEM need capacity: 4096 Bytes\n"
    )
    (folder / "refused.log").write_text(
        'Traceback (most recent call last):\n  File "/x/ops/Conv2dInt.py", line 3, in f\n'
        "Error occurred: SHARE-MEM to be allocated exceeds 655360\nValueError: no place\n"
    )


_MAKERS: Mapping[str, Callable[[Path], None]] = {
    "config": _configs,
    "names": _names,
    "pairs": _pairs,
    "state": _floats,
    "weights": _floats,
    "linger": _quantized,
    "lint": _onnx,
    "runner": _onnx,
    "arrays": _arrays,
    "variables": _orbax,
    "packer": _packer,
    "inspect": _inspected,
}
"""By reader."""

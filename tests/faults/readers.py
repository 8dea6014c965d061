"""Every reader of files, and what a right result of it is.

A spoilt file that is read counts as right where an independent reading of the very same bytes gives the same, or,
where there is none, where the result keeps what its reader promises:

| reader | a right result |
|---|---|
| config | the configuration of what PyYAML reads |
| names | the names that PyYAML reads; by rules, names of the checkpoint's keys |
| pairs | the pairs that PyYAML or json reads |
| state | every array is a tensor that ``torch.load``, or the header of ``.safetensors``, has under that name |
| weights | as state, laid out as the model has it (1x1 convolutions are matrices), and finite |
| linger | as weights; every scale is one that a quantizer can have |
| lint | a report that can be written as JSON |
| runner | integers within the width that they claim, real numbers that are finite |
| arrays | what ``numpy.load`` reads, without objects |
| variables | the sample's, since its numbers have checksums; every scale as above |
| packer | sizes that are not negative |
| inspect | exit status 0 and a table that tells what is not finite |

Files with checksums (archives of PyTorch, records of orbax) hold what they held, where they are read at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
import yaml

import linger_jax
from linger_jax import converters
from linger_jax.api import CheckpointAdapter
from linger_jax.cli import main
from linger_jax.cli.quantized_checkpoint import read_quantized
from linger_jax.cli.run.array_files import read_inputs
from linger_jax.converters.files.torch_state import read_state
from linger_jax.converters.match.user_mapping import read_names
from linger_jax.errors import LingerError
from linger_jax.export.packing.packer_output import memory_use, operations, refusal
from linger_jax.quantizers import entry_problem
from linger_jax.staging import variable_paths
from tests.faults.samples import INPUTS, KEYS, MODEL, X, quantized

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
      name: for ``--only``.
      read: of a file, or folder.
      judge: what is wrong with a result of a spoilt file; empty where nothing is.
      weight: how often it is chosen.
      compiles: needs XLA for each file.
    """

    name: str
    read: Callable[[Path], Any]
    judge: Callable[[Path, Any], str]
    weight: float = 1.0
    compiles: bool = False

    def kind_of(self, path: Path) -> str:
        """Kind of a file, by its name: which mutations know it."""
        named = {".pt": "torch", ".pth": "torch", ".json": "json", ".yaml": "yaml", ".onnx": "onnx"}
        kind = named.get(path.suffix, path.suffix.removeprefix("."))
        kind = {"old.pt": "torch_old", "rules.yaml": "rules", "_METADATA": "json", "_sharding": "json"}.get(
            path.name, kind
        )
        if self.name == "linger":
            kind += "_qat"
        known = (
            "torch",
            "torch_qat",
            "torch_old",
            "safetensors",
            "safetensors_qat",
            "json",
            "yaml",
            "rules",
            "onnx",
            "npy",
            "npz",
        )
        return kind if kind in known else "other"

    def has_checksums(self, path: Path) -> bool:
        """Whether every number of a file is covered."""
        return self.name in ("state", "weights", "linger") and zipfile.is_zipfile(path) and path.name != "old.pt"

    def difference(self, result: Any, good: Any) -> str:
        """How two results differ; empty where they do not."""
        ours, theirs = _flat(result), _flat(good)
        if ours.keys() != theirs.keys():
            return f"holds {sorted(ours)} instead of {sorted(theirs)}"
        wrong = [key for key in ours if not np.array_equal(ours[key], theirs[key], equal_nan=True)]
        return f"other values of {', '.join(wrong[:3])}" if wrong else ""


def _flat(tree: Any) -> Arrays:
    leaves = zip(variable_paths(tree), jax.tree.leaves(tree), strict=True)
    return {".".join(path): np.asarray(leaf) for path, leaf in leaves}


# --- configurations, names, pairs ---


def _judge_config(path: Path, result: Any) -> str:
    wanted = linger_jax.load_config(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    return "" if result == wanted else "is not the configuration that PyYAML reads"


def _judge_names(path: Path, result: Any) -> str:
    wanted = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if isinstance(wanted, dict):
        return "" if result == wanted else "are not the names that PyYAML reads"
    strange = [name for name in result if not any(key == name or key.startswith(f"{name}.") for key in KEYS)]
    return f"names {strange}, which are none of the checkpoint" if strange else ""


def _judge_pairs(path: Path, result: CheckpointAdapter) -> str:
    text = path.read_text(encoding="utf-8")
    wanted = (json.loads if path.suffix == ".json" else yaml.safe_load)(text)["pairs"]
    return "" if [list(pair) for pair in result.pairs] == [list(pair) for pair in wanted] else f"are not {wanted}"


# --- checkpoints ---


def _read_state(path: Path) -> Arrays:
    state = read_state(path, counters=True)
    return {key: state.raw(key) for key in state.tensors}


def _tensors(value: Any, name: str = "", depth: int = 0) -> list[tuple[str, np.ndarray]]:
    """Every tensor in what ``torch.load`` gives."""
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_quantized or value.device.type == "meta":
            return []
        value = value.detach().resolve_conj()
        return [(name, value.float().numpy() if value.dtype in (torch.bfloat16, torch.float16) else value.numpy())]
    if not isinstance(value, Mapping) or depth > 10:
        return []
    return [found for key, inner in value.items() for found in _tensors(inner, str(key), depth + 1)]


def _held(path: Path) -> list[tuple[str, np.ndarray]]:
    """Tensors of a checkpoint, read without us."""
    if path.is_dir():
        return [found for shard in sorted(path.glob("*.safetensors")) for found in _held(shard)]
    if path.suffix != ".safetensors":
        return _tensors(torch.load(path, map_location="cpu", weights_only=True))
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    types = {
        "F64": "f8",
        "F32": "f4",
        "F16": "f2",
        "I64": "i8",
        "I32": "i4",
        "I16": "i2",
        "I8": "i1",
        "U8": "u1",
        "BOOL": "?",
    }
    found = []
    for key, entry in json.loads(data[8:start]).items():
        if key == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[start + begin : start + end]
        if entry["dtype"] == "BF16":
            numbers = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            numbers = np.frombuffer(raw, f"<{types[entry['dtype']]}")
        found.append((key, numbers.reshape(entry["shape"])))
    return found


def _judge_state(path: Path, result: Arrays) -> str:
    held: dict[str, list[np.ndarray]] = {}
    for key, array in _held(path):
        held.setdefault(key.removeprefix("module.").replace("_orig_mod.", ""), []).append(array)
        held.setdefault(key, []).append(array)
    for key, array in result.items():
        made = "in_proj" in str(held.keys()) or any(other.endswith(("_g", "_v")) for other in held)
        if made:  # joined projections and weights in factors have other names here
            continue
        if not any(_same(array, other) for other in held.get(key, [])):
            return f"{key} is no tensor of the file"
    return ""


def _same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.shape == theirs.shape and np.array_equal(
        ours, theirs.astype(ours.dtype), equal_nan=ours.dtype.kind in "fc"
    )


def _judge_variables_of(path: Path, result: Any) -> str:
    held = [array for _, array in _held(path) if array.dtype.kind in "fiub"]
    for name, leaf in _flat(result).items():
        if not np.isfinite(leaf.astype(np.float64)).all():
            return f"{name} is not finite"
        with np.errstate(over="ignore"):
            forms = [form.astype(leaf.dtype) for array in map(np.squeeze, held) for form in (array, array.T)]
        if leaf.ndim and not any(np.array_equal(form, np.squeeze(leaf)) for form in forms):
            return f"{name} is no tensor of the file"
    return _judge_scales(result)


def _judge_scales(result: Any) -> str:
    for name, leaf in _flat(result.get("quant", {})).items():
        problem = entry_problem(name.rpartition(".")[2], leaf)
        if problem and not name.endswith("num_batches_tracked"):
            return f"{name} {problem}"
    return ""


def _read_weights(path: Path) -> Any:
    return converters.from_torch(path, MODEL, X)[0]


def _read_linger(path: Path) -> Any:
    return converters.load_linger_checkpoint(path, quantized(path.stem)[0], None, X)[0]


# --- ONNX ---


def _read_lint(path: Path) -> Any:
    return linger_jax.check_onnx(path)


def _judge_lint(path: Path, result: Any) -> str:
    json.dumps(result.as_dict())
    return "" if isinstance(result.ok, bool) and str(result) else "is no report"


def _read_runner(path: Path) -> Any:
    runner = linger_jax.OnnxRunner(path)
    random = np.random.default_rng(0)
    given = []
    for entry in runner.inputs:
        if np.prod(entry.shape, dtype=np.float64) > 1e6:
            raise LingerError(f"{path}: no input is made of {entry.shape}")
        numbers = random.integers(0, 3, entry.shape)
        given.append(numbers.astype(np.float32 if entry.dtype.kind == "f" else np.int32))
    return runner.run_quantized(given)


def _judge_runner(path: Path, result: Any) -> str:
    for name, value in result.items():
        if hasattr(value, "bits"):
            steps = np.asarray(value.value, np.int64)
            if steps.size and not -(2 ** (value.bits - 1)) <= steps.min() <= steps.max() < 2 ** (value.bits - 1):
                return f"{name}: {steps.min()} to {steps.max()} in {value.bits} bits"
        elif not np.isfinite(np.asarray(value, np.float64)).all():
            return f"{name} is not finite"
    return ""


# --- arrays, orbax, packer, command line ---


def _read_arrays(path: Path) -> Arrays:
    return read_inputs([str(path)], INPUTS if path.suffix == ".npz" else INPUTS[:1])


def _judge_arrays(path: Path, result: Arrays) -> str:
    found = np.load(path, allow_pickle=False)
    wanted = dict(found) if isinstance(found, np.lib.npyio.NpzFile) else {INPUTS[0]: found}
    wrong = [
        n
        for n, array in result.items()
        if n in wanted and not np.array_equal(array, wanted[n], equal_nan=array.dtype.kind in "fc")
    ]
    return f"{wrong} are not what NumPy reads" if wrong or not result else ""


def _read_variables(path: Path) -> Any:
    return read_quantized(path, quantized("MOM")[0], (jax.ShapeDtypeStruct(X.shape, X.dtype),))


def _judge_variables(path: Path, result: Any) -> str:
    good, ours = _flat(quantized("MOM")[1]), _flat(result)
    other = [key for key in ours if key in good and not np.array_equal(ours[key], good[key])]
    return f"other values of {other[:3]}" if other else _judge_scales(result)


def _read_packer(path: Path) -> Any:
    if not path.is_file() or path.is_symlink():
        raise LingerError(f"{path}: the packer's output is no file")
    text = path.read_bytes().decode("utf-8", "replace")
    return memory_use(text), operations(text), str(refusal(text, 1))


def _judge_packer(path: Path, result: Any) -> str:
    sizes, count, told = result
    return "" if all(size >= 0 for size in sizes.values()) and (count or 0) >= 0 and told else f"{result}"


def _read_inspect(path: Path) -> str:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["inspect", str(path)])
        except SystemExit as end:
            if end.code == 1:
                raise LingerError(err.getvalue()) from None
            if end.code:
                raise RuntimeError(f"exit status {end.code}: {err.getvalue()}") from None
    return out.getvalue()


def _judge_inspect(path: Path, result: str) -> str:
    bad = 0
    if not (path / "_METADATA").exists():
        bad = sum(int((~np.isfinite(array)).sum()) for _, array in _held(path) if array.dtype.kind == "f")
    return (
        "does not tell what is not finite"
        if bad and "not finite" not in result
        else ""
        if "tensors" in result
        else result
    )


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("config", linger_jax.load_config, _judge_config, 2.0),
        Reader("names", functools.partial(read_names, keys=KEYS), _judge_names, 1.5),
        Reader("pairs", CheckpointAdapter.load, _judge_pairs, 0.5),
        Reader("state", _read_state, _judge_state, 4.0),
        Reader("weights", _read_weights, _judge_variables_of, 1.0),
        Reader("linger", _read_linger, _judge_variables_of, 1.0),
        Reader("lint", _read_lint, _judge_lint, 3.0),
        Reader("runner", _read_runner, _judge_runner, 0.5, compiles=True),
        Reader("arrays", _read_arrays, _judge_arrays, 1.5),
        Reader("variables", _read_variables, _judge_variables, 0.5),
        Reader("packer", _read_packer, _judge_packer, 0.3),
        Reader("inspect", _read_inspect, _judge_inspect, 1.0),
    )
}

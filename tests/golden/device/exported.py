"""Replays device cases through export: linger's own file, and ours from the same checkpoint, run in integers."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import linger_jax
from linger_jax import converters
from linger_jax.errors import DeviceLintError
from linger_jax.export.runner.integer_tensor import IntegerTensor
from tests.golden import compare
from tests.golden.case import Case
from tests.golden.device.imported import configuration, device_input, device_network

# What linger calls an operator layer, and the node it becomes.
_FUNCTION_NODES = {
    **{"add": "QAdd", "mul": "QMul", "matmul": "QMatmul", "bmm": "QBmm", "cat": "QCat", "sigmoid": "QSigmoid"},
    **{"tanh": "QTanh", "gelu": "QGelu", "silu": "QSwish", "softmax": "QSoftmax"},
}
# Corrections of what linger writes (docs/onnx_files.md): our name of a node for linger's.
_CORRECTED = {"QMatmul": "QBmm", "QGlobalAveragePool2d": "QAvgPool2d"}


def replay(case: Case) -> list[str]:
    """Mismatches of one case; none when it passes.

    Args:
      case: a device case; ``qat.pt`` and ``model.onnx`` lie beside its ``case.json``.

    Raises:
      NotSupportedError: a network that the builder does not know.
    """
    folder = case.path.parent
    if case.keep is not None:
        keep_files(case, case.keep / case.name)
    wrong = run_matches("model.onnx", folder / "model.onnx", case)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "linger.onnx"
        export(case, path, "linger")
        wrong += _same_graph(onnx.load(path), onnx.load(folder / "model.onnx"))
        wrong += run_matches("ours", path, case)
        path = Path(scratch) / "thinker.onnx"
        with warnings.catch_warnings():
            # What the device would refuse is written all the same: its integers are evaluation's, too.
            warnings.simplefilter("ignore", linger_jax.LingerWarning)
            export(case, path, "thinker", strict=False)
        wrong += run_matches("thinker", path, case)
    return wrong


def export(case: Case, path: Path, dialect: str, *, strict: bool = True) -> None:
    """Writes the file of a case, from linger's checkpoint.

    Args:
      case: a device case.
      path: the file.
      dialect: of the file.
      strict: of the export.

    Raises:
      NotSupportedError: a network that the builder does not know.
      DeviceLintError: the device would not compute it (dialect ``thinker``), with ``strict``.
    """
    arch = case.meta["arch"]
    inputs = tuple(device_input(case.arrays, arch, described["name"]) for described in arch["inputs"])
    qmodel = linger_jax.init(device_network(arch, inputs, fused=case.meta["fuse_bn"]), configuration(case.meta))
    variables, _ = converters.load_linger_checkpoint(case.path.parent / "qat.pt", qmodel, None, inputs)
    opset = {"opset": case.meta["opset"]} if dialect == "linger" else {}
    names = [described["name"] for described in arch["inputs"]]
    linger_jax.export_onnx(qmodel, variables, inputs, path, dialect=dialect, input_names=names, strict=strict, **opset)


def keep_files(case: Case, folder: Path) -> None:
    """Leaves the files of a case in a folder: of both dialects, and what to tell the packer.

    ``pack.json`` holds the platform and the packer's options; where the lint refuses the case there is no file of the
    dialect ``thinker``, and ``pack.json`` holds the reason.
    """
    export(case, folder / "linger.onnx", "linger")
    path, told = folder / "thinker.onnx", {"platform": case.meta["platform"], "options": []}
    path.unlink(missing_ok=True)
    try:
        export(case, path, "thinker")
        told["options"] = linger_jax.check_onnx(path).pack_options
    except DeviceLintError as refusal:
        told["refused"] = str(refusal)
    (folder / "pack.json").write_text(json.dumps(told, indent=2) + "\n")


def run_matches(name: str, path: Path, case: Case) -> list[str]:
    """The integers of the output, and of every layer that has a node of its own."""
    arrays, runner = case.arrays, linger_jax.OnnxRunner(path)
    given = {}
    for entry in runner.inputs:
        key = f"x_float_{entry.name}" if f"x_float_{entry.name}" in arrays else "x_float"
        given[entry.name] = arrays[key] if key in arrays else arrays["x_int"]
    values = runner.run_quantized(given, [*runner.outputs, *runner.tensor_names])
    output = values[runner.outputs[0]]
    wrong = _same_integers(f"{name}: y", output, arrays["y_int"], arrays["scale_out"])
    makers = _makers(runner, case.meta["arch"])
    linear = {node["id"] for node in case.meta["arch"]["nodes"] if node["op"] == "Linear"}
    for layer, want in case.group("act").items():
        if layer in makers and not _is_raised(runner, makers[layer]):
            scale = arrays[f"act_scale/{layer}"]
            value = values[makers[layer]]
            if name == "thinker":  # a layer over a sequence may be one over a plane, whose points are rows
                in_order = np.moveaxis(value.value, 1, -1) if layer in linear and value.value.ndim == 4 else value.value
                value = value.holds(in_order.reshape(want.shape))
            wrong += _same_integers(f"{name}: act/{layer}", value, want, scale, steps=_allowed(value))
    return wrong


def _is_raised(runner: linger_jax.OnnxRunner, tensor: str) -> bool:
    """Whether the tensor stands higher than its layer's result, on its way through a ReLU6 by saturation."""
    readers = [node for node in runner.graph.nodes if tensor in node.inputs]
    return any(".six" in name for node in readers for name in node.inputs)


def _allowed(value: Any) -> int:
    """linger adds 16-bit products in float32, a file in integers: one step.

    Source: docs/specification/quantizers.md section 11.
    """
    return int(isinstance(value, IntegerTensor) and value.bits > 8)


def _same_integers(name: str, value: Any, want: np.ndarray, scale: np.ndarray, steps: int = 0) -> list[str]:
    real = value.real() if isinstance(value, IntegerTensor) else value
    integers = (np.asarray(real, np.float64) * np.float64(scale)).astype(np.int64)
    if integers.ndim == want.ndim + 1 and integers.size == want.size:
        integers = integers.reshape(want.shape)  # a line that the device computes as a plane of height 1
    if steps and integers.shape == want.shape and np.all(np.abs(integers - want) <= steps):
        return []
    return compare.same_bits(name, integers, want.astype(np.int64))


def _makers(runner: linger_jax.OnnxRunner, arch: Mapping[str, Any]) -> dict[str, str]:
    """The tensor of each layer that has parameters, or is the only one of its kind."""
    makers = {}
    ops = [node["op"] for node in arch["nodes"]]
    for node in runner.graph.nodes:
        weights = [t for t in node.inputs if t in runner.graph.constants and "." in t]
        if weights and node.op.startswith("linger::Q") and "LSTM" not in node.op and "GRU" not in node.op:
            makers[weights[0].rpartition(".")[0]] = node.outputs[0]
    for kind, op in _FUNCTION_NODES.items():
        found = [n for n in runner.graph.nodes if n.op.removeprefix("linger::") in (op, _CORRECTED.get(op))]
        if len(found) == 1 and ops.count(kind) == 1:
            counted = [k for k in ops if k in _FUNCTION_NODES]
            stem = "swish" if kind == "silu" else kind
            makers[f"_linger_qtensor_q{stem}_{counted.index(kind)}"] = found[0].outputs[0]
    return makers


def _same_graph(ours: onnx.ModelProto, theirs: onnx.ModelProto) -> list[str]:
    """Nodes, attributes, constants and boundaries, up to the names of tensors."""
    left, right = _described(ours), _described(theirs)
    wrong = []
    kinds = [kind for kind, _, _ in left], [_CORRECTED.get(kind, kind) for kind, _, _ in right]
    if kinds[0] != kinds[1]:
        return [f"nodes {kinds[0]}, linger writes {kinds[1]}"]
    for (kind, found, constants), (_, expected, stored) in zip(left, right, strict=True):
        if kind == "QAvgPool2d" and "kernel_shape" not in expected:
            found = {key: found[key] for key in expected}  # linger's global pool has no window
        for key in sorted({*found, *expected}):
            if not _same_attribute(key, found.get(key), expected.get(key)):
                wrong.append(f"{kind}.{key} is {found.get(key)}, linger writes {expected.get(key)}")
        if len(constants) != len(stored):
            wrong.append(f"{kind} has {len(constants)} constants, linger writes {len(stored)}")
            continue
        for i, (one, other) in enumerate(zip(constants, stored, strict=True)):
            if kind == "Reshape" and one.shape == other.shape:
                one = np.where(other == -1, other, one)  # "what is left" is a number in our files
            if one.dtype != other.dtype or one.shape != other.shape or not np.array_equal(one, other):
                wrong.append(f"{kind}: constant {i} differs ({one.dtype}{one.shape}, {other.dtype}{other.shape})")
    boundary = [[(v.name, v.type.tensor_type.elem_type) for v in m.graph.input] for m in (ours, theirs)]
    if boundary[0] != boundary[1]:
        wrong.append(f"inputs {boundary[0]}, linger writes {boundary[1]}")
    return wrong


def _same_attribute(key: str, ours: Any, theirs: Any) -> bool:
    """Axes are counted from the front in our files, which the packer needs for QGLU."""
    if key in ("axis", "dim") and ours is not None and theirs is not None and theirs < 0 <= ours:
        return True
    return bool(ours == theirs)


def _described(model: onnx.ModelProto) -> list[tuple[str, dict[str, Any], list[np.ndarray]]]:
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return [
        (
            node.op_type,
            {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            [constants[name] for name in node.input if name in constants],
        )
        for node in model.graph.node
    ]

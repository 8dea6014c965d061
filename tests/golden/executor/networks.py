"""Replays whole files that the executor ran, by ``OnnxRunner``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import linger_jax
from linger_jax.config import Compat
from linger_jax.errors import ExportError
from linger_jax.export.onnx.file_dialect import EXECUTOR_FILES
from linger_jax.export.onnx.onnx_file import COMPAT_KEY, DIALECT_KEY
from linger_jax.export.runner.integer_tensor import IntegerTensor
from tests.golden.case import Case
from tests.golden.outcome import NotSupportedError


def replay(case: Case) -> list[str]:
    """Mismatches of all calls of a network, the state of one fed to the next.

    Raises:
      NotSupportedError: the file holds an operator that has no rule.
    """
    model = onnx.load(case.path.with_suffix(".onnx"))
    # The packer reads files of any origin as its own; the runner asks the file.
    onnx.helper.set_model_props(model, {COMPAT_KEY: Compat.chip.value, DIALECT_KEY: EXECUTOR_FILES.name})
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "network.onnx")
        onnx.save(model, path)
        try:
            runner = linger_jax.OnnxRunner(path)
        except ExportError as error:
            raise NotSupportedError(str(error).partition(":")[2].strip()) from error
        return [text for call in range(case.meta["calls"]) for text in _call(case, runner, call)]


def _call(case: Case, runner: linger_jax.OnnxRunner, call: int) -> list[str]:
    given = case.group(f"call{call}.in")
    grids = {node.inputs[0]: node.scale("scale_x") for node in runner.graph.nodes if node.op == "linger::Quant"}
    inputs = {
        entry.name: given[entry.name] / np.float64(grids[entry.name]) if entry.name in grids else given[entry.name]
        for entry in runner.inputs
    }
    found = runner.run_quantized(inputs)
    wrong = []
    for number in range(case.meta["outputs"]):
        wanted, got = case.arrays[f"call{call}.out.{number}"], _integers(found[runner.outputs[number]])
        count = int(np.sum(got != wanted.reshape(-1))) if got.size == wanted.size else wanted.size
        if count:
            wrong.append(f"call {call}, output {number}: {count} of {wanted.size} integers differ")
    return wrong


def _integers(value: Any) -> np.ndarray:
    return np.asarray(value.value if isinstance(value, IntegerTensor) else value).reshape(-1)

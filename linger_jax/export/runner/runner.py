"""``OnnxRunner``: an exported file as a function of numpy arrays."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import numpy.typing as npt

from linger_jax.errors import ExportError
from linger_jax.export.onnx import FileGraph, FileTensor, read_onnx
from linger_jax.export.runner.dump import DumpFormat, write_dump
from linger_jax.export.runner.evaluation import check_operators, evaluate, evaluate_batch
from linger_jax.export.runner.integer_tensor import IntegerTensor, Value
from linger_jax.foreign_file import translated
from linger_jax.typing import HostArray

Inputs = npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike]


class OnnxRunner:
    """Runs an exported ONNX file in pure integers, with the arithmetic of the chip that the file names.

    Files of linger 3.0.9 and of ``linger_jax.export_onnx`` run alike. The compiled program is kept for each shape.

    Args:
      path: the file.

    Raises:
      ExportError: the file cannot be read or holds an operator that has no rule; the message names the nodes.
    """

    def __init__(self, path: str | Path) -> None:
        self._name = str(path)
        self._graph = read_onnx(path)
        with self._naming_the_file():
            check_operators(self._graph)
        self._compiled = functools.lru_cache(maxsize=32)(self._compile)

    @property
    def inputs(self) -> tuple[FileTensor, ...]:
        """Name, shape and dtype of each graph input, in order."""
        return self._graph.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Name of each output of the model, in order."""
        return self._graph.outputs

    @property
    def graph(self) -> FileGraph:
        """The file as it was read."""
        return self._graph

    def run(
        self,
        inputs: Inputs,
        out_type: Literal["list", "dict"] = "list",
        special_key: str | Sequence[str] | None = None,
        *,
        batch_axis: int | Mapping[str, int] = 0,
        dump: bool = False,
        dump_dir: str | Path = "onnx_dump",
        dump_format: DumpFormat = "quantized",
    ) -> list[HostArray] | dict[str, HostArray]:
        """Runs the file.

        Args:
          inputs: an array for a file of one input, else a sequence in the file's order or a mapping by name; real
            numbers of any type, read as float32, or integers for token ids. Where the file declares one sample, a batch
            may be given: its samples run independently.
          out_type: a list in the order asked for, or a mapping by tensor name.
          special_key: tensors to return in the place of the graph outputs, by name; intermediate ones too.
          batch_axis: which axis holds a batch, for all inputs or by name.
          dump: also write every tensor to a file of its own.
          dump_dir: folder for them; created.
          dump_format: ``float`` (real numbers), ``quantized`` (integers) or ``all``.

        Returns:
          Real numbers as float32. A batch has its samples along the batch axis where the file declares one sample
          there, else along a new leading axis.

        Raises:
          ExportError: a missing or unknown name, a shape or dtype that does not fit, or NaN among the inputs.
        """
        if out_type not in ("list", "dict"):
            raise ExportError(f"out_type is {out_type!r}; allowed: 'list', 'dict'")
        wanted = self._wanted(special_key)
        values = self.run_quantized(inputs, self.tensor_names if dump else wanted, batch_axis=batch_axis)
        if dump:
            write_dump(values, Path(dump_dir), dump_format)
        results = {name: _real(values[name]) for name in wanted}
        return results if out_type == "dict" else [results[name] for name in wanted]

    def run_quantized(
        self, inputs: Inputs, names: Sequence[str] | None = None, *, batch_axis: int | Mapping[str, int] = 0
    ) -> Mapping[str, Value]:
        """Runs the file and returns tensors as they are: ``IntegerTensor`` where they are quantized.

        Args:
          inputs: as in ``run``.
          names: tensors; None for the graph outputs.
          batch_axis: as in ``run``.
        """
        arrays = self._arrays(inputs)
        wanted = tuple(names) if names is not None else self.outputs
        axes = self._batch_axes(arrays, batch_axis)
        with self._naming_the_file():
            values = self._compiled(wanted, axes)(*arrays)
        if axes is None:
            return values
        axis = axes[0]
        return {name: _merged(value, axis) for name, value in values.items()}

    def _naming_the_file(self) -> AbstractContextManager[None]:
        return translated(self._name, ExportError, "cannot be run", "export it again")

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """Every tensor that a run computes, in order."""
        return tuple(name for node in self._graph.computing for name in node.outputs if name)

    def _compile(self, wanted: tuple[str, ...], axes: tuple[int, ...] | None) -> Any:
        graph = self._graph
        if axes is None:
            return jax.jit(lambda *arrays: dict(evaluate(graph, arrays, wanted)))
        return jax.jit(lambda *arrays: dict(evaluate_batch(graph, arrays, wanted, axes)))

    def _wanted(self, special_key: str | Sequence[str] | None) -> tuple[str, ...]:
        if special_key is None:
            return self.outputs
        names = (special_key,) if isinstance(special_key, str) else tuple(special_key)
        known = {*self.tensor_names, *(entry.name for entry in self.inputs)}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ExportError(f"the file has no tensor {unknown[0]!r}; it has {', '.join(sorted(known))}")
        return names

    def _arrays(self, inputs: Inputs) -> list[HostArray]:
        declared = [entry.name for entry in self.inputs]
        given: list[Any]
        if isinstance(inputs, Mapping):
            missing, unknown = set(declared) - set(inputs), set(inputs) - set(declared)
            if missing or unknown:
                raise ExportError(f"inputs must be {declared}; missing {sorted(missing)}, unknown {sorted(unknown)}")
            given = [inputs[name] for name in declared]
        else:
            given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if len(given) != len(declared):
            raise ExportError(f"the file takes {len(declared)} input(s) {declared}, {len(given)} were given")
        return [self._checked(np.asarray(a), entry) for a, entry in zip(given, self.inputs, strict=True)]

    @staticmethod
    def _checked(array: HostArray, entry: FileTensor) -> HostArray:
        if array.ndim != len(entry.shape):
            raise ExportError(f"input {entry.name} has shape {array.shape}; the file declares {entry.shape}")
        if np.issubdtype(entry.dtype, np.floating):
            if not _is_real(array.dtype):
                raise ExportError(f"input {entry.name} is {array.dtype}; the file takes real numbers (float32)")
            missing = np.argwhere(np.isnan(array))
            if len(missing):
                more = f", and {len(missing) - 1:,} more" if len(missing) > 1 else ""
                raise ExportError(
                    f"input {entry.name} is NaN at {missing[0].tolist()}{more}; integers have no such value"
                )
            with np.errstate(over="ignore"):  # what float32 cannot hold saturates as infinity does
                return array.astype(np.float32)
        if not np.issubdtype(array.dtype, np.integer):
            raise ExportError(f"input {entry.name} is {array.dtype}; the file takes integers")
        if array.size and (array.min() < -(2**31) or array.max() >= 2**31):
            raise ExportError(f"input {entry.name} holds integers beyond 32 bits")
        return array.astype(np.int32)

    def _batch_axes(self, arrays: Sequence[HostArray], batch_axis: int | Mapping[str, int]) -> tuple[int, ...] | None:
        """The batch axis of each input, or None where every shape is the declared one."""
        if all(a.shape == entry.shape for a, entry in zip(arrays, self.inputs, strict=True)):
            return None
        axes, sizes = [], set()
        for array, entry in zip(arrays, self.inputs, strict=True):
            axis = batch_axis if isinstance(batch_axis, int) else batch_axis.get(entry.name, 0)
            expected = list(entry.shape)
            if not 0 <= axis < len(expected) or expected[axis] != 1:
                raise ExportError(
                    f"input {entry.name} has shape {array.shape}; the file declares {entry.shape}, which has no axis "
                    f"{axis} of one sample that a batch could take the place of (batch_axis)"
                )
            expected[axis] = array.shape[axis]
            if list(array.shape) != expected:
                raise ExportError(f"input {entry.name} has shape {array.shape}; the file declares {entry.shape}")
            axes.append(axis)
            sizes.add(array.shape[axis])
        if len(sizes) != 1:
            raise ExportError(f"the inputs hold different numbers of samples: {sorted(sizes)}")
        return tuple(axes)


def _is_real(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of the type hold real numbers: float32 by their values."""
    return any(jax.numpy.issubdtype(dtype, kind) for kind in (np.floating, np.integer, np.bool_))


def _real(value: Value) -> HostArray:
    return np.asarray(value.real() if isinstance(value, IntegerTensor) else value)


def _merged(value: Value, axis: int) -> Value:
    """Samples from their leading axis to the batch axis, where one sample has a single entry there."""

    def merge(array: Any) -> Any:
        if array.ndim > axis + 1 and array.shape[axis + 1] == 1:
            return np.moveaxis(np.squeeze(np.asarray(array), axis + 1), 0, axis)
        return array

    return value.holds(merge(value.value)) if isinstance(value, IntegerTensor) else merge(value)

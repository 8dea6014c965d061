"""Reading an ONNX file into a small graph, refusing what cannot be run before anything runs."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from linger_jax.config import Compat, RoundMode
from linger_jax.errors import ExportError
from linger_jax.export.onnx.file_dialect import FILE_DIALECTS, LINGER_FILES, FileDialect
from linger_jax.foreign_file import foreign_file, require_name, translated
from linger_jax.kinds import LINGER, full_name
from linger_jax.numerics import is_power_of_two
from linger_jax.targets import PLATFORM_OF_UNMARKED_FILES, Platform
from linger_jax.typing import HostArray

if TYPE_CHECKING:
    from onnx import AttributeProto, ModelProto, TensorProto, ValueInfoProto

COMPAT_KEY = "linger_jax.compat"
"""Metadata entry of a file that says what its integers mean where linger and the chip differ."""
DIALECT_KEY = "linger_jax.dialect"
"""Metadata entry of a file that says whose operators it holds."""
RESERVING_KEY = "linger_jax.reserving"
"""Metadata entry of a file that says how many of its last outputs are not the model's: the packer plans memory for
them, and nobody reads them."""
_MOST_BYTES = 1 << 28
# Names of attributes that are widths and scales (docs/specification/onnx_export.md section 2).
_WIDTH, _SCALE, _WIDEST = "_bits", "scale_", 32


Name = TypeVar("Name", bound=enum.StrEnum)


@dataclasses.dataclass(frozen=True, eq=False)
class FileNode:
    """One node of a file.

    Attributes:
      name: for messages and dumps.
      op: operator, ``linger::QConv2d`` or ``Relu``.
      inputs: tensor names; "" where an optional input is left out.
      outputs: tensor names.
      attributes: by name; strings decoded.
      layer: dotted path of the module that made it; empty in files of others.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    layer: str = ""

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute.

        Raises:
          ExportError: it is missing and has no default, or is no integer.
        """
        value = self._attribute(name, default)
        if not isinstance(value, int):
            raise self._error(f"{name} is {value!r:.60}; a whole number is wanted")
        return value

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of integers.

        Raises:
          ExportError: as ``integer``.
        """
        value = self._attribute(name, default)
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, int) for v in value):
            raise self._error(f"{name} is {value!r:.60}; whole numbers are wanted")
        return tuple(value)

    def scale(self, name: str) -> float:
        """A scale.

        Raises:
          ExportError: it is missing or no positive power of two.
        """
        value = self._attribute(name, None)
        if not isinstance(value, int | float) or not is_power_of_two(value):
            raise self._error(f"{name} is {value!r:.60}; a scale is a positive power of two")
        return float(value)

    @property
    def written(self) -> str:
        """The operator's name in the file, without its domain."""
        return self.op.removeprefix(full_name(LINGER, ""))

    @property
    def round_mode(self) -> RoundMode:
        """Rounding of the activation: ``quant_mode``, ``floor_add`` where the file does not say."""
        return self._one_of(RoundMode, "quant_mode", RoundMode.floor_add)

    @property
    def platform(self) -> Platform:
        """The target chip; a file may leave it out (docs/specification/onnx_export.md section 1)."""
        return self._one_of(Platform, "platform", PLATFORM_OF_UNMARKED_FILES)

    def _one_of(self, names: type[Name], attribute: str, default: Name) -> Name:
        value = self.attributes.get(attribute, default)
        if value not in list(names):
            raise self._error(f"{attribute} is {value!r:.60}; allowed: {', '.join(names)}")
        return names(value)

    def _attribute(self, name: str, default: Any) -> Any:
        value = self.attributes.get(name, default)
        if value is None:
            raise self._error(f"has no attribute {name}")
        return value

    def _error(self, text: str) -> ExportError:
        return ExportError(f"node {self.name} ({self.op}): {text}")


@dataclasses.dataclass(frozen=True)
class FileTensor:
    """A graph input: its name, shape and numpy dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class FileGraph:
    """A file that was read.

    Attributes:
      inputs: graph inputs in order.
      outputs: names of the graph outputs that are the model's.
      nodes: in execution order.
      constants: by name.
      compat: what the integers mean where linger and the chip differ; files of others are linger's.
      shapes: of the intermediate tensors and outputs whose every dimension the file states.
      dialect: whose operators it holds; files of others are linger's.
      reserving: names of graph outputs behind those that are the model's, for which the packer plans memory.
    """

    inputs: tuple[FileTensor, ...]
    outputs: tuple[str, ...]
    nodes: tuple[FileNode, ...]
    constants: Mapping[str, HostArray]
    compat: Compat
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    dialect: FileDialect = LINGER_FILES
    reserving: tuple[str, ...] = ()

    @property
    def computing(self) -> tuple[FileNode, ...]:
        """The nodes but those that only reserve memory."""
        readers: dict[str, list[FileNode]] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                readers.setdefault(tensor, []).append(node)
        gone: set[FileNode] = set()
        for node in reversed(self.nodes):
            behind = [(name in self.reserving, readers.get(name, [])) for name in node.outputs if name]
            if all(reserves or (read and gone.issuperset(read)) for reserves, read in behind):
                gone.add(node)
        return tuple(node for node in self.nodes if node not in gone) if self.reserving else self.nodes


def read_onnx(path: str | Path) -> FileGraph:
    """Reads a file.

    Args:
      path: an ``.onnx`` file with its weights inside.

    Raises:
      ExportError: it cannot be read, is damaged, keeps weights elsewhere or has symbolic input shapes; or the onnx
        package is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ExportError("reading ONNX files needs the onnx package: pip install linger-jax[onnx]") from error
    with foreign_file(path, ExportError, "ONNX file", "export it again", most_bytes=_MOST_BYTES) as file:
        return read_model(onnx.load(file, load_external_data=False), str(path))


def read_model(model: ModelProto, path: str) -> FileGraph:
    """Reads a model that is in memory.

    Args:
      model: an ONNX model.
      path: what to call it in messages.

    Raises:
      ExportError: as ``read_onnx``.
    """
    with translated(path, ExportError, "is no ONNX model that can be read", "export it again"):
        return _graph(model, path)


def _graph(model: ModelProto, path: str) -> FileGraph:
    if not model.graph.node:
        raise ExportError(f"{path} is no ONNX file, or holds no nodes")
    constants: dict[str, HostArray] = {}
    for tensor in model.graph.initializer:
        with translated(tensor.name, ExportError, "is a constant that cannot be read"):
            constants[require_name(tensor.name, path, ExportError)] = _array(tensor)
    known = set(constants) | {entry.name for entry in model.graph.input} | {""}
    nodes = []
    for index, proto in enumerate(model.graph.node):
        name = proto.name or f"{proto.op_type}_{proto.output[0] if proto.output else index}"
        for text in (name, proto.op_type, *proto.input, *proto.output):
            require_name(text, path, ExportError)
        absent = [tensor for tensor in proto.input if tensor not in known]
        if absent:
            raise ExportError(f"{path}: node {name} reads {absent[0]}, which nothing before it makes")
        again = [tensor for tensor in proto.output if tensor and tensor in known]
        if again:
            raise ExportError(f"{path}: node {name} makes {again[0]}, which is there already")
        known.update(proto.output)
        attributes = {}
        for attribute in proto.attribute:
            with translated(f"node {name} ({proto.op_type}): {attribute.name}", ExportError, "cannot be read"):
                attributes[attribute.name] = _attribute(attribute)
        op = full_name(LINGER if proto.domain == LINGER else "", proto.op_type)
        nodes.append(FileNode(name, op, tuple(proto.input), tuple(proto.output), attributes, proto.doc_string))
    lost = [entry.name for entry in model.graph.output if entry.name not in known]
    if lost:
        raise ExportError(f"{path}: nothing makes the output {lost[0]}")
    inputs = tuple(_tensor(path, v) for v in model.graph.input if v.name not in constants)
    shapes = {
        entry.name: tuple(d.dim_value for d in entry.type.tensor_type.shape.dim)
        for entry in (*model.graph.value_info, *model.graph.output)
        if entry.type.tensor_type.HasField("shape") and all(d.dim_value > 0 for d in entry.type.tensor_type.shape.dim)
    }
    outputs = tuple(entry.name for entry in model.graph.output)
    compat = _stated(path, model, COMPAT_KEY, list(Compat), Compat.reference)
    dialect = _stated(path, model, DIALECT_KEY, list(FILE_DIALECTS), LINGER_FILES.name)
    reserving = _reserving(path, model, outputs)
    own = outputs[: len(outputs) - len(reserving)]
    read = {tensor for node in nodes for tensor in node.inputs}
    if read & set(reserving):
        raise ExportError(f"{path}: {min(read & set(reserving))} only reserves memory, and is read")
    return FileGraph(inputs, own, tuple(nodes), constants, Compat(compat), shapes, FILE_DIALECTS[dialect], reserving)


def _reserving(path: str, model: ModelProto, outputs: tuple[str, ...]) -> tuple[str, ...]:
    """The last outputs that are not the model's."""
    count = _stated(path, model, RESERVING_KEY, [str(i) for i in range(len(outputs))], "0")
    return outputs[len(outputs) - int(count) :]


def _stated(path: str, model: ModelProto, key: str, allowed: Sequence[str], default: str) -> str:
    """An entry of the file's metadata."""
    stated = [entry.value for entry in model.metadata_props if entry.key == key]
    if stated and stated[0] not in allowed:
        raise ExportError(f"{path}: {key} is {stated[0]!r}; allowed: {', '.join(allowed)}")
    return stated[0] if stated else default


def _attribute(proto: AttributeProto) -> Any:
    """A value; widths and scales are checked here, since everything that reads a file reckons with them."""
    from onnx import helper

    value = helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        value = value.decode()
    elif hasattr(value, "raw_data"):
        value = _array(value)
    if proto.name.endswith(_WIDTH) and not (isinstance(value, int) and 1 <= value <= _WIDEST):
        raise ValueError(f"it is {value!r:.60}; a width is 1 to {_WIDEST} bits")
    if proto.name.startswith(_SCALE) and not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise ValueError(f"it is {value!r:.60}; a scale is a positive number")
    return value


def _array(tensor: TensorProto) -> HostArray:
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL:
        raise ValueError("lies outside the file; save the model with its weights inside")
    return numpy_helper.to_array(tensor)


def _tensor(path: str, proto: ValueInfoProto) -> FileTensor:
    from onnx import helper

    shape = []
    for axis, dimension in enumerate(proto.type.tensor_type.shape.dim):
        if not dimension.HasField("dim_value") and dimension.HasField("dim_param"):
            raise ExportError(f"{path}: axis {axis} of {proto.name} is symbolic; export with numbers")
        if dimension.dim_value < 1:
            raise ExportError(f"{path}: axis {axis} of {proto.name} has {dimension.dim_value} entries; at least 1")
        shape.append(dimension.dim_value)
    dtype = helper.tensor_dtype_to_np_dtype(proto.type.tensor_type.elem_type)
    return FileTensor(proto.name, tuple(shape), np.dtype(dtype))

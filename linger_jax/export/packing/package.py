"""Reading a package of the packer: where each tensor lies, and which operator needs it when.

The tables were read off packages of release 3.0.4 (docs/specification/executor.md section 8).
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping

from linger_jax.errors import PackError

_MAGIC = b"thinker"
_WORKSPACE = "workspace"
_SHARE_MEMORY = 2
_PLANNED = 1
_HEADER, _TENSORS, _OPERATORS, _BOUNDARY, _NAMES = 16, 2, 4, 5, 7
"""Where the offsets of the tables begin, and which of them they are."""
_NAME = 64
_RANKS = 7
_OFFSETS = struct.Struct("<8I")
_TENSOR_TABLE = struct.Struct("<4I")
_TENSOR = struct.Struct(f"<BBHifiI{_RANKS}IQ")
_OPERATOR_TABLE = struct.Struct("<2H2BHI")
_OPERATOR = struct.Struct("<7HBB")
_BOUNDARY_TABLE = struct.Struct("<4H")
_NAME_TABLE = struct.Struct("<5I")


@dataclasses.dataclass(frozen=True)
class Placed:
    """A tensor of a package.

    Attributes:
      name: as in the file.
      in_share_memory: whether it lies there; else in PSRAM.
      planned: whether the plan of memory gives it its place; else it is a constant.
      begin: of its bytes, in its memory.
      size: bytes.
    """

    name: str
    in_share_memory: bool
    planned: bool
    begin: int
    size: int

    @property
    def end(self) -> int:
        """Behind its bytes."""
        return self.begin + self.size


@dataclasses.dataclass(frozen=True)
class Step:
    """An operator of a package; tensors by their number.

    Attributes:
      kind: the packer's name of the operator.
      inputs, outputs: what it reads and makes.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Package:
    """What a package says of memory.

    Attributes:
      tensors: by number.
      steps: the operators in order.
      inputs, outputs: of the graph, by number.
    """

    tensors: tuple[Placed, ...]
    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def workspace(self) -> int:
        """Bytes of scratch memory that all operators share."""
        return max((tensor.size for tensor in self.tensors if tensor.name == _WORKSPACE), default=0)

    def block(self, *, in_share_memory: bool) -> int:
        """Bytes of the block that the plan takes of a memory."""
        planned = [t.end for t in self.tensors if t.planned and t.in_share_memory == in_share_memory]
        return max(planned, default=0)

    def lives(self) -> Mapping[int, tuple[int, int]]:
        """First and last step that needs each planned tensor that holds values, by its number."""
        found: dict[int, tuple[int, int]] = dict.fromkeys(self.inputs, (-1, -1))
        for index, step in enumerate(self.steps):
            for tensor in (*step.inputs, *step.outputs):
                if self.tensors[tensor].planned:
                    found[tensor] = (found.get(tensor, (index, index))[0], index)
        for tensor in self.outputs:
            found[tensor] = (found.get(tensor, (0, 0))[0], len(self.steps))
        return found

    def shared(self) -> Mapping[int, int]:
        """The number of the tensor whose memory each tensor is given by the operator that makes it; else its own."""
        found = {number: number for number in range(len(self.tensors))}
        for step in self.steps:
            for made in step.outputs:
                for read in step.inputs:
                    one, other = self.tensors[read], self.tensors[made]
                    if one.planned and (one.in_share_memory, one.begin) == (other.in_share_memory, other.begin):
                        found[made] = found[read]
        return found


def read_package(data: bytes) -> Package:
    """Reads the tables of a package.

    Raises:
      PackError: it is no package, or not of the form that is known.
    """
    if not data.startswith(_MAGIC):
        raise PackError(f"the package does not begin with {_MAGIC.decode()!r}: it is none, or of another release")
    try:
        return _package(data)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise PackError(f"the package is damaged, or of another release of the packer: {error}") from error


def _package(data: bytes) -> Package:
    offsets = _OFFSETS.unpack_from(data, _HEADER)
    tensors = tuple(_tensors(data, offsets[_TENSORS], offsets[_NAMES]))
    steps = tuple(_steps(data, offsets[_OPERATORS]))
    begin = offsets[_BOUNDARY]
    taken, made, _, first = _BOUNDARY_TABLE.unpack_from(data, begin)
    numbers = struct.unpack_from(f"<{taken + made}I", data, begin + first)
    named = {tensor for step in steps for tensor in (*step.inputs, *step.outputs)} | set(numbers)
    if any(number >= len(tensors) for number in named):
        raise IndexError(f"it names tensor {max(named)} of {len(tensors)}")
    return Package(tensors, steps, numbers[:taken], numbers[taken:])


def _tensors(data: bytes, begin: int, names: int) -> list[Placed]:
    count, stride, _, first = _TENSOR_TABLE.unpack_from(data, begin)
    first_name = _NAME_TABLE.unpack_from(data, names)[-1]
    found = []
    for index in range(count):
        memory, _, kind, plan, _, _, rank, *dims, offset = _TENSOR.unpack_from(data, begin + first + index * stride)
        if rank > _RANKS:
            raise IndexError(f"tensor {index} has {rank} axes")
        size = kind & 0xFF
        for extent in dims[:rank]:
            size *= extent
        (name,) = struct.unpack_from(f"{_NAME}s", data, names + first_name + index * _NAME)
        found.append(Placed(_text(name), memory == _SHARE_MEMORY, plan == _PLANNED, offset, size))
    return found


def _steps(data: bytes, begin: int) -> list[Step]:
    steps, kinds, length, _, first_kind, first = _OPERATOR_TABLE.unpack_from(data, begin)
    texts = [struct.unpack_from(f"{length}s", data, begin + first_kind + i * length)[0] for i in range(kinds)]
    place, found = begin + first, []
    for _ in range(steps):
        kind, _, tensors, _, size, taken, made, _, _ = _OPERATOR.unpack_from(data, place)
        numbers = struct.unpack_from(f"<{taken + made}I", data, place + tensors)
        found.append(Step(_text(texts[kind]), numbers[:taken], numbers[taken:]))
        place += size
    return found


def _text(name: bytes) -> str:
    return name.partition(b"\0")[0].decode()

"""An estimate of the memory that the packer will give a file's tensors.

The packer's own reports show how: activations share blocks of share memory when their lives do not meet, a
convolution and its Relu are one step, views have no memory of their own, layers need scratch memory, and the weights
of the step to come are prefetched into one of two buffers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping

from linger_jax.export.lint.node_view import NodeView, Tensor
from linger_jax.export.lint.pack_options import PackOptions
from linger_jax.export.lint.program import Program
from linger_jax.export.scratch_memory import planned_for_unit
from linger_jax.kinds import Role
from linger_jax.kinds import onnx_operators as ops

_GRAIN = 16
_AXIS_BYTES = 4
"""Scratch memory of softmax for each position of its axis."""
_GATE_BYTES = 8
"""Scratch memory of an LSTM for each row of its weights, besides the weights."""


@dataclasses.dataclass(frozen=True)
class Life:
    """An activation: its bytes, and the first and last node that needs it."""

    name: str
    size: int
    begin: int
    end: int


@dataclasses.dataclass(frozen=True)
class MemoryUse:
    """Bytes of each memory."""

    share_memory: int
    psram: int


def memory_use(program: Program, options: PackOptions) -> MemoryUse:
    """What a file takes.

    Args:
      program: the file; tensors of unknown shape count nothing.
      options: what the packer is told.
    """
    found = lives(program)
    moved = {life.name for life in found if _moved(life, options)}
    scratch = max((_scratch(view, program, moved) for view in program.views), default=0)
    parameters = [_parameters(view) for view in program.views]
    weights = [size for size in parameters if size]
    buffers = max(weights[::2], default=0) + max(weights[1::2], default=0) if options.prefetch else 0
    share = _blocks(life for life in found if life.name not in moved)
    return MemoryUse(share + scratch + buffers, sum(parameters) + _blocks(life for life in found if life.name in moved))


def lives(program: Program) -> tuple[Life, ...]:
    """Every activation that has memory of its own, in order of birth."""
    roots = _roots(program)
    sizes: dict[str, int] = {}
    begins: dict[str, int] = {}
    ends: dict[str, int] = {}
    for view in program.views:
        for tensor in (*view.inputs, *view.outputs):
            if tensor is None or tensor.constant is not None or not tensor.name:
                continue
            root = roots.get(tensor.name, tensor.name)
            begins.setdefault(root, view.index)
            ends[root] = view.index
            if tensor.bits is not None:  # what floats at the boundary become is counted as their Quant
                sizes[root] = max(sizes.get(root, 0), _aligned(tensor.size or 0))
    last = len(program.views)
    kept = {roots.get(name, name) for name in (*program.graph.outputs, *program.graph.reserving)}
    return tuple(Life(r, size, begins[r], last if r in kept else ends[r]) for r, size in sizes.items())


def stays_in_share_memory(program: Program) -> Iterator[str]:
    """Tensors that may not be moved to PSRAM: the executor or the packer stops.

    Source: docs/specification/onnx_export.md section 5.
    """
    roots = _roots(program)
    for view in program.views:
        for tensor in _held(view):
            if tensor is not None:
                yield roots.get(tensor.name, tensor.name)


def _held(view: NodeView) -> tuple[Tensor | None, ...]:
    if view.operator is ops.QSOFTMAX:
        return view.outputs[:1]
    if view.operator is ops.QCONV1D:
        return view.inputs[:1]
    return (view.inputs[0], *view.outputs) if view.operator is ops.QLSTM else ()


def _is_view(view: NodeView) -> bool:
    """Whether the result lies where the operand does: the packer keeps integers at the boundary, too."""
    if view.operator is None:
        return False
    return view.operator.reshapes or view.operator in (ops.QUANT, ops.DEQUANT)


def _roots(program: Program) -> Mapping[str, str]:
    """The tensor in whose memory another lies."""
    roots: dict[str, str] = {}
    for view in program.views:
        source = view.input(0)
        if source is None or not view.outputs:
            continue
        maker = program.maker(source)
        fused = (
            view.operator is ops.RELU
            and maker is not None
            and maker.operator in ops.CONVOLUTIONS
            and len(program.readers[source.name]) == 1
        )
        if _is_view(view) or fused:
            roots[view.outputs[0].name] = roots.get(source.name, source.name)
    return roots


def _moved(life: Life, options: PackOptions) -> bool:
    return life.name in options.psram or (options.threshold4 is not None and life.size > options.threshold4)


def _scratch(view: NodeView, program: Program, moved: set[str]) -> int:
    source, result = view.input(0), view.outputs[0] if view.outputs else None
    if source is None or result is None or source.size is None:
        return 0
    if view.operator is ops.QLINEAR:
        return _aligned(source.size) + _aligned(result.size or 0)
    if view.operator is ops.QSOFTMAX and source.shape:
        axis = source.shape[(view.integer("axis", -1) or 0) % len(source.shape)]
        return program.device.softmax_workspace * math.prod(source.shape) + _AXIS_BYTES * axis
    if view.operator is ops.QGLU:
        return planned_for_unit(source.shape or ())
    if view.operator is ops.QLSTM:
        return _parameters(view) + _GATE_BYTES * 4 * (view.integer("hidden_size", 0) or 0)
    if view.operator in ops.CONVOLUTIONS | ops.TRANSPOSED:
        readers = program.readers.get(result.name, ())
        names = {result.name, *(s.outputs[0].name for s in readers if s.operator is ops.RELU)}
        size = result.size or 0
        most = program.device.conv_workspace
        return (size if most is None else min(size, most)) if names & moved else 0
    return 0


def _parameters(view: NodeView) -> int:
    """Bytes of what it stores; sizes, axes and bounds are part of the operator."""
    if view.operator is None:
        return 0
    roles = [view.operator.role(i) for i in range(len(view.inputs))]
    stored = [t for t, role in zip(view.inputs, roles, strict=True) if role is not Role.numbers]
    return sum(_aligned(t.size or 0) for t in stored if t is not None and t.constant is not None)


def _aligned(size: int) -> int:
    return -(-size // _GRAIN) * _GRAIN


def _blocks(found: Iterable[Life]) -> int:
    """Bytes of the blocks that the lives share: the best free one, else the largest free one grown, else a new one."""
    blocks: list[tuple[int, int]] = []  # size, last node that needs it
    for life in sorted(found, key=lambda life: life.begin):
        free = [i for i, (_, end) in enumerate(blocks) if end < life.begin]
        fits = [i for i in free if blocks[i][0] >= life.size]
        if fits:
            best = min(fits, key=lambda i: blocks[i][0])
        elif free:
            best = max(free, key=lambda i: blocks[i][0])
        else:
            blocks.append((life.size, life.end))
            continue
        blocks[best] = (max(blocks[best][0], life.size), life.end)
    return sum(size for size, _ in blocks)

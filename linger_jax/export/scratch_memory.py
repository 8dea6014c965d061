"""Scratch memory that operators write and the packer does not plan by itself, and what makes it plan more.

Source: docs/specification/executor.md section 8.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from linger_jax.kinds import OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import is_power_of_two
from linger_jax.targets import Device
from linger_jax.typing import Shape

_GLU_BYTES = 7
"""Bytes that the packer plans for each value of the operand of a gated linear unit."""
OF_RESULTS = 7
"""Values of a window, for each result, for which the scratch memory of an average is planned."""
_ONE_ROW, _ROWS = 28_672, 8
"""Bytes up to which a unit of one row makes the packer plan them, and rows of one for more."""
_HALVES = 2


def scratch_bytes(
    device: Device,
    operator: OnnxOperator | None,
    attributes: Mapping[str, Any],
    operands: Sequence[Shape | None],
    result: Shape | None,
) -> int:
    """Bytes that a node of a file writes in scratch memory, where the packer may plan fewer; 0 where it plans enough.

    Args:
      device: of the chip.
      operator: of the node.
      attributes: of the node.
      operands: shape of each input; None where it is not known.
      result: shape of the first output; None where it is not known.
    """
    widths = device.scratch.get(operator.name, {}) if operator is not None else {}
    need = widths.get(attributes.get("x_bits", 0))
    shape = operands[0] if operands else None
    if need is None or operator is None or shape is None or not shape or result is None:
        return 0
    window = math.prod(attributes.get("kernel_shape", ()))
    if operator is ops.QMUL and not _repeats_channels(operands):
        return 0
    if operator is ops.QAVG_POOL2D and _is_planned(window, shape, result):
        return 0
    return (
        need.of_value * max(math.prod(s) for s in operands if s is not None)
        + need.of_row * shape[-1]
        + need.of_channel * (shape[1] if len(shape) > 1 else 0)
        + need.of_hidden * (result[-1] if result else 0)
        + need.of_window * window
        + need.of_result * math.prod(result)
        + need.fixed
    )


def behind_state(device: Device, operator: OnnxOperator | None, attributes: Mapping[str, Any]) -> int:
    """Bytes that a node writes from the begin of its final state on, if it writes behind it; else 0."""
    written = operator is ops.QLSTM and device.lstm_overhang > 0
    return int((1 + device.lstm_overhang) * attributes.get("hidden_size", 0)) if written else 0


def reserving_shape(size: int, result: int) -> Shape:
    """Shape of the constant whose gated linear unit makes the packer plan memory.

    Args:
      size: bytes of scratch memory.
      result: bytes of the unit's result.
    """
    rows = 1 if size <= _ONE_ROW else _ROWS
    columns = max(-(-size // (_GLU_BYTES * rows)), -(-_HALVES * result // rows))
    return rows, -(-columns // _HALVES) * _HALVES


def planned_for_unit(shape: Shape) -> int:
    """Bytes that the packer plans for a gated linear unit."""
    return _GLU_BYTES * math.prod(shape)


def _is_planned(window: int, shape: Shape, result: Shape) -> bool:
    """Whether the packer plans enough for an average: by shifts, over the whole plane, or with many results."""
    return window == math.prod(shape[-2:]) or is_planned_for_results(window, result)


def is_planned_for_results(window: int, result: Shape) -> bool:
    """Whether the packer plans enough for an average of so many values by its results, or needs none."""
    return is_power_of_two(window) or window <= OF_RESULTS * math.prod(result)


def _repeats_channels(operands: Collection[Shape | None]) -> bool:
    """Whether a product repeats one of its operands over the plane."""
    shapes = [shape for shape in operands if shape]
    return len(shapes) > 1 and len({math.prod(shape) for shape in shapes}) > 1

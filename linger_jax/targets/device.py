"""What the vendor's packer and executor make of files for a chip, as records without behaviour."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any


class PlatformQuant(enum.Enum):
    """Whether the packer asks for the attribute ``platform_quant``, and a softmax for ``dim`` beside ``axis``.

    Source: docs/specification/onnx_export.md section 4.2.
    """

    unused = enum.auto()
    """Files pack without."""
    wanted = enum.auto()
    """Files pack once they have it."""
    wanted_in_vain = enum.auto()
    """The packer asks for it, and then has no implementation of what most files need."""


FARTHEST_LEFT_SHIFT = 2**6
"""How much finer a Requant or a QCat may make integers of 8 bits: the executors shift no farther to the left
(docs/specification/executor.md section 3, row QCat)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionForm:
    """A function that the executor computes as evaluation does at these widths and scales.

    Read by the device lint (``export/lint/checks``) and by the rewriting of functions as tables.
    """

    input_bits: int
    """Width of its operand."""
    input_scale: float | None
    """Scale of its operand; None: any."""
    output_bits: int
    """Width of its result."""
    output_scale: float
    """Scale of its result, whatever the file says."""

    def is_of(self, attributes: Mapping[str, Any]) -> bool:
        """Whether a node of a file, by its attributes, is of this form."""
        widths = (attributes["x_bits"], attributes["o_bits"]) == (self.input_bits, self.output_bits)
        scales = self.input_scale in (None, attributes["scale_x"]) and self.output_scale == attributes["scale_o"]
        return bool(widths and scales)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScratchNeed:
    """Bytes of scratch memory that an operator writes, of which the packer plans fewer.

    Read by ``export/scratch_memory.py``.
    """

    of_value: int = 0
    """For each value of the operand."""
    of_row: int = 0
    """For each position of the operand's last axis."""
    of_channel: int = 0
    """For each position of the operand's second axis."""
    of_hidden: int = 0
    """For each position of the result's last axis."""
    of_result: int = 0
    """For each value of the result."""
    of_window: int = 0
    """For each position of the window."""
    fixed: int = 0
    """Besides those."""


class TableIndex(enum.Enum):
    """How the index of a table, x + 128, is computed (docs/specification/executor.md section 4)."""

    product = enum.auto()
    """By a linear layer of one input, one output and a bias: ``lut_by_linear``."""
    addition = enum.auto()
    """By an addition of a constant of 32 bits: ``lut``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LookUp:
    """How a table of 256 results is read (docs/specification/executor.md section 4).

    Read by the rewriting of functions as tables and by the device lint.
    """

    index: TableIndex
    """Read by the rewriting alone."""
    elements: int
    """Most elements of one look-up; more are looked up in parts."""
    joined_bits: tuple[int, ...]
    """Widths of parts that the executor joins without a shift."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowBuffer:
    """How the executor cuts inputs by rows (docs/specification/executor.md section 3.6). Read by the device lint."""

    size: int
    """Bytes of the input of a convolution."""
    pool_bytes: int
    """Bytes of the input of a maximum pool."""
    pool_grain: int
    """Channels of a maximum pool are counted in such many."""
    width_grain: int
    """Columns are counted in such many for each column of stride."""
    cuts_evenly: bool
    """All parts have as many results; else as many as fit, and the last the rest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Executor:
    """Where the executor 3.0.4 computes other integers than training (docs/specification/onnx_export.md section 5).

    A fault is True only where it was measured: of a chip without an executor to run, none is known. Read by the device
    lint (``export/lint/checks``) and by the rewritings of the dialect ``thinker``.
    """

    measured: bool
    """There is an executor of this chip; docs/specification/onnx_export.md sections 4.3 and 5 were measured with it."""
    addition_of_constant_hangs: bool
    """A ``QAdd`` of a constant never returns where all three scales are equal (docs/specification/executor.md section
    3)."""
    softmax_axis_is_misread: bool
    """Beyond two axes the axis of a ``QSoftmax`` has to be counted from behind (docs/specification/executor.md
    section 3)."""
    conv1d_differs: bool
    """A ``QConv1d`` gives other values; a 2-D one of height 1 does not."""
    transpose_of_four_axes_crashes: bool
    """A ``Transpose`` of four axes stops the executor; of three it does not."""
    linear_rows_are_corrupted: bool
    """The result of a ``QLinear`` of several rows is transposed in place in share memory, and corrupted there."""
    attention_on_input_differs: bool
    """Attention whose linear layers read the graph input is wrong, wherever its tensors lie."""
    glu_differs: bool
    """A ``QGLU`` gives other values; where it does not, its activations have to lie in PSRAM."""
    normalizes_rows: bool
    """``LayerNormInt`` computes the formula of docs/specification/executor.md section 3.3. Read by
    ``plan/decide/plan_norms.py`` too."""
    gru_gates_read_state: bool | None
    """The gates r and z of a ``QGRU`` have a recurrent part (docs/specification/executor.md section 5); None: it was
    not measured. Read by ``plan/decide/plan_recurrent.py``, by the interpretation and by the runner of files too."""
    row_buffer: RowBuffer | None
    """None: not measured."""
    concatenation_only_shifts_left: bool
    """An operand of a ``QCat`` on a finer grid than the result comes out as garbage. Training therefore ties the scales
    of layers that meet there (docs/decisions.md D22): ``Target.ties_concat_scales``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """What the packer 3.0.4 takes of a file for one chip (docs/specification/onnx_export.md section 4).

    These are limits of a packed file, stricter in places than those that training checks (``Target.windows``). Read by
    the device lint (``export/lint``), by the rewritings of the dialect ``thinker`` that must stay inside them, and by
    ``export/packing``.
    """

    share_memory: int
    """Bytes (docs/specification/onnx_export.md section 4.3, memory)."""
    psram: int
    """Bytes (docs/specification/onnx_export.md section 4.3, memory)."""
    conv2d_kernel: Mapping[int, int]
    """Largest window of a 2-D convolution by dilation; other dilations are refused
    (docs/specification/onnx_export.md section 4.3, Conv2d kernel)."""
    conv1d_kernel: int
    """Largest window of a 1-D convolution (docs/specification/onnx_export.md section 4.3, Conv1d kernel)."""
    transposed_kernel: int
    """Largest window of a transposed convolution (docs/specification/onnx_export.md section 4.3, ConvTranspose2d)."""
    narrowest_group_channels: int
    """Channels from which on a group of a convolution may have several results; 0: any
    (docs/specification/executor.md section 9)."""
    transposed_of_stride_one: int | None
    """Most values of the padded operand, channels and width in eights, of a transposed convolution with a larger window
    and stride 1; None: not limited (docs/specification/executor.md section 3, row QConvTranspose2d)."""
    strides: tuple[int, ...]
    """The ones allowed (docs/specification/onnx_export.md section 4.3, stride / kernel)."""
    padding: int
    """Largest on a side (docs/specification/onnx_export.md section 4.3, stride / kernel)."""
    functions: Mapping[str, FunctionForm | None]
    """Functions of one tensor that pack, by linger's name, and the form in which the chip computes them as evaluation
    does; None: in none (docs/specification/executor.md sections 3 and 9)."""
    look_up: LookUp | None
    """How a table is read in the place of the others; None: not measured."""
    output_bits: tuple[int, ...]
    """Widths of results with which convolutions and linear layers pack (docs/specification/onnx_export.md section 4.3,
    widths)."""
    linear_output_bits: tuple[int, ...]
    """Widths of results with which a linear layer packs (packer runs)."""
    exact_output_bits: Mapping[str, tuple[int, ...]]
    """Widths of results that the executor computes, by linger's names of operators with more than 8 bits
    (docs/specification/executor.md sections 3 and 9)."""
    linear_weight_bits: tuple[int, ...]
    """Widths of weights with which a linear layer packs
    (docs/specification/onnx_export.md section 4.3, widths: formally; packer runs)."""
    softmax_length: int
    """Longest axis of a softmax (docs/specification/onnx_export.md section 4.3, Softmax)."""
    scratch: Mapping[str, Mapping[int, ScratchNeed]]
    """Scratch memory for which the packer has to be made to plan, by linger's name of the operator and the width of the
    operand; empty where nothing can be reserved (docs/specification/executor.md section 8)."""
    lstm_overhang: int
    """Bytes behind the final state of an LSTM that it writes besides, for each value of the state
    (docs/specification/executor.md section 8)."""
    softmax_workspace: int
    """Bytes of scratch memory of a softmax for each value, besides those for its axis (the packer's memory report)."""
    conv_workspace: int | None
    """Most bytes of scratch memory of a convolution whose result lies in PSRAM; None: as many as the result has (the
    packer's memory report)."""
    platform_quant: PlatformQuant
    """Whether nodes must carry the attribute ``platform_quant`` (docs/specification/onnx_export.md section 4.2)."""
    missing_operators: frozenset[str]
    """Operators that the packer knows and makes no package of for this chip, under linger's names
    (docs/specification/onnx_export.md section 4.2, docs/specification/executor.md section 9)."""
    own_operators: frozenset[str]
    """Standard operators that the packer takes for this chip alone (docs/specification/onnx_export.md section 4.1)."""
    executor: Executor
    """Where the chip computes a packed file otherwise than training did."""

    def largest_kernel(self, op: str, dilation: int) -> int:
        """Largest window of a ``QConv1d`` or ``QConv2d``; 0 where the device has none of that dilation."""
        return self.conv1d_kernel if op == "QConv1d" else self.conv2d_kernel.get(dilation, 0)

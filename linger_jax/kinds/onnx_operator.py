"""What is known of one operator of an ONNX file: a record that lowering, dialects, runner and lint read."""

from __future__ import annotations

import dataclasses
import enum

LINGER = "linger"
"""ONNX domain of the quantized operators."""
BIAS_BITS = 32
"""Width of biases, in files and on every chip."""


class Family(enum.Enum):
    """Operators that rules treat alike."""

    convolution = enum.auto()
    transposed = enum.auto()
    """Transposed convolutions."""
    linear = enum.auto()
    """A weight, and an input that is no image."""
    product = enum.auto()
    """Of two computed matrices."""
    average = enum.auto()
    recurrent = enum.auto()
    other = enum.auto()


class Role(enum.Enum):
    """What an input of an operator holds."""

    data = enum.auto()
    """What it computes on: integers on a grid, or floats."""
    weight = enum.auto()
    """Stored integers of ``w_bits``."""
    bias = enum.auto()
    """Stored integers of 32 bits at ``scale_x * scale_w``, added before the one rounding."""
    other_bias = enum.auto()
    """Stored integers of 32 bits on another grid than the first product."""
    results = enum.auto()
    """Stored integers of ``o_bits``: the result for each integer of the first input, from the least on."""
    numbers = enum.auto()
    """Sizes, axes, indices or bounds: no quantized numbers."""


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why the packer stops at an operator.

    Attributes:
      why: what it lacks.
      remedy: what to do.
      edit: the rewrite of the dialect ``thinker`` that helps; empty where none does.
    """

    why: str
    remedy: str
    edit: str = ""


UNKNOWN = Refusal(
    "no device computes it, in float least of all",
    "Quantize what makes it: concatenations, sums and products have quantized forms (QCat, QAdd, QMul)",
)
"""What the packer makes of an operator that no row is about."""
USE_THINKER = "Export with dialect='thinker'"
"""A remedy, or its beginning."""
AS_2D = "one_dimension_as_two"
"""The edit that makes planes of sequences."""
AS_TABLE = "function_as_table"
"""The edit that writes a function as a table of its results."""
TRAIN_EXECUTOR_ROWS = (
    "Train the executor's integers with quant_info.arithmetic: executor, or keep the layer off the chip"
)
"""The remedy for a LayerNorm in linger's arithmetic."""
TRAIN_EXECUTOR_GRU = (
    "Train a cell that the chip computes with quant_info.gru_form: primitives or executor, or use an LSTM in its place"
)
"""The remedy for a GRU of linger's kernel."""
WRITES_TABLE = f"{USE_THINKER}: it writes a table, for operands of 8 bits"
"""The remedy for functions that a chip has not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packing:
    """What the vendor's packer makes of an operator (docs/specification/onnx_export.md section 4.1).

    Attributes:
      name: its own name for the operator, which a file may hold, too; None where it has none.
      takes_name: it takes the name that the record has, for every chip.
      refusal: why it does not; None where it does.
    """

    name: str | None
    takes_name: bool
    refusal: Refusal | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OnnxOperator:
    """One operator of a file. Every column is required: a new one must be filled in for every operator.

    Attributes:
      name: in a file.
      domain: ``LINGER``, or empty for an operator of the ONNX standard.
      family: whom rules treat like it; read by lowering, rewrites and lint.
      inputs: what each input holds; read by the rewrites that change shapes, the lint of ranks and widths, and the
        estimate of memory.
      variadic: whether any number of inputs like the last may follow; read with ``inputs``.
      ranks: numbers of axes that the packer takes, empty for any; read by the lint of shapes.
      result_grid: attributes that state scale and width of the first result, None where none do; read by the lint's
        program and by the rewrites that need a tensor's grid.
      passes_grid: its results lie on the grid of its first input, and it gives the same whether it comes before or
        behind a Quant; read as ``result_grid`` is, and by the rewrites that move Quants to the inputs.
      moves: it computes nothing: elements change places, are repeated or left out; read by the rewrites that move
        Dequants to the outputs.
      reshapes: it gives the same elements in the same order another shape; read by the rewrite that joins Reshapes and
        by the estimate of memory, where it has none of its own.
      pointwise: it makes integers of integers, one element at a time, so any shape will do; read by the rewrites that
        change shapes.
      differs_between_chips: the same inputs give other integers on another chip; read by export where a file is asked
        for another chip than the model was trained for.
      states_platform: its nodes name the chip; read by the emitter.
      states_rounding: its nodes say ``platform_quant`` where a chip wants that; read by the dialect ``thinker``.
      needs_rounding: the packer stops without ``quant_mode``, and without ``platform_quant`` where a chip wants that;
        read by the lint of attributes.
      first_sample_only: the executor computes the first sample of a batch alone; read by the lint of shapes.
      plane_form: the operator of images that computes the same on planes of height one; read by the rewrite that makes
        planes of sequences.
      same_as: the operator that computes the same and that export writes; read by the dialect ``thinker``.
      axes_attribute: the attribute that ONNX has made an input in opset 13; read by the writer.
      packing: what the packer makes of it; read by lint, runner and the dialect ``thinker``.
      exported: export writes it, in some dialect; held against the lowering rules and rewrites by a test.
      not_run: why the runner has no rule for it; empty where it has. Held against the rules by a test.
    """

    name: str
    domain: str
    family: Family
    inputs: tuple[Role, ...]
    variadic: bool
    ranks: tuple[int, ...]
    result_grid: tuple[str, str] | None
    passes_grid: bool
    moves: bool
    reshapes: bool
    pointwise: bool
    differs_between_chips: bool
    states_platform: bool
    states_rounding: bool
    needs_rounding: bool
    first_sample_only: bool
    plane_form: OnnxOperator | None
    same_as: OnnxOperator | None
    axes_attribute: str | None
    packing: Packing
    exported: bool
    not_run: str

    @property
    def quantized(self) -> bool:
        """Whether it is one of linger's domain."""
        return self.domain == LINGER

    @property
    def full_name(self) -> str:
        """``linger::QAdd``, ``Relu``: the name with its domain."""
        return full_name(self.domain, self.name)

    def role(self, position: int) -> Role | None:
        """What an input holds; None where the operator has no such input."""
        if position < len(self.inputs):
            return self.inputs[position]
        return self.inputs[-1] if self.variadic else None

    def positions(self, role: Role, count: int) -> tuple[int, ...]:
        """Which of a node's first ``count`` inputs have a role."""
        return tuple(i for i in range(count) if self.role(i) is role)

    def __str__(self) -> str:
        return self.full_name

    def __repr__(self) -> str:
        return f"<{self.full_name}>"


def full_name(domain: str, name: str) -> str:
    """An operator's name as messages, dumps and the reader of files spell it."""
    return f"{domain}::{name}" if domain else name

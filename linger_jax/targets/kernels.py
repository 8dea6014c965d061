"""What a chip's function kernels and recurrent cells are like, as records without behaviour."""

from __future__ import annotations

import dataclasses
import enum


@dataclasses.dataclass(frozen=True, kw_only=True)
class NarrowArithmetic:
    """Sigmoid and tanh in 32 bits: each segment shifts its product by a number of its own, then adds its bias."""

    result_fraction_bits: int
    """The one Q-format of results, of tensor operators and of gates (docs/specification/chip_kernels.md section 5).
    Read by ``numerics/chip_kernels``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WideArithmetic:
    """Sigmoid and tanh in 64 bits: slope times input plus bias in Q58, requantized to the format that is asked for."""

    kept_fraction_bits: int
    """Q-format in which the kernel keeps its result before it requantizes (docs/specification/chip_kernels.md
    section 1). Read by ``numerics/chip_kernels``."""
    gate_fraction_bits: int
    """Q-format that the gates of LSTM, GRU and GLU ask for (docs/specification/chip_kernels.md section 5). Read by
    ``numerics/chip_kernels``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmoidTanh:
    """The kernels of sigmoid and tanh (docs/specification/chip_kernels.md sections 1 to 5)."""

    sigmoid_table: str
    """Name of sigmoid's segments in ``numerics/tables``. Read by ``numerics/chip_kernels/sigmoid.py``."""
    tanh_table: str
    """Name of tanh's segments in ``numerics/tables``. Read by ``numerics/chip_kernels/tanh.py``."""
    arithmetic: NarrowArithmetic | WideArithmetic
    """How a segment is computed, and in which formats it answers. Read by ``numerics/chip_kernels``."""
    input_fraction_bits: int
    """Q-format of the input. Read by ``numerics/chip_kernels`` and ``numerics/recurrent``."""
    input_bits: int
    """Width of the input; a kernel of fewer than 32 bits answers 0 beyond it (docs/codes.md K1). Read by ``interpret``,
    the runner of files and ``numerics/recurrent``, which saturate to it."""
    linger_wraps_input: bool
    """linger casts the input to int32 without saturating it (docs/specification/chip_kernels.md section 9). Read by
    ``interpret/kernel_functions.py`` under ``compat: reference``."""


class SoftmaxDivision(enum.Enum):
    """How softmax divides a power of two by the sum of its row (docs/specification/chip_kernels.md section 7)."""

    newton = enum.auto()
    """Two Newton steps from a linear estimate of the reciprocal."""
    long_division = enum.auto()
    """30 steps of compare, subtract and double."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Softmax:
    """The softmax kernel (docs/specification/chip_kernels.md section 7).

    Read by ``numerics/chip_kernels/softmax.py``.
    """

    moves_least_maximum: bool
    """A row's maximum of -2^31 counts as -2^31 + 1 (step 1)."""
    rounds_powers_once: bool
    """The last polynomial step and the scaling by 2^E are rounded together (step 6)."""
    division: SoftmaxDivision
    """Step 8."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeluSwish:
    """The kernels of gelu and swish (docs/specification/chip_kernels.md section 6)."""

    gelu_table: str
    """Name of gelu's segments in ``numerics/tables``. Read by ``numerics/chip_kernels/gelu_swish.py``."""
    swish_table: str
    """Name of swish's segments in ``numerics/tables``. Read by ``numerics/chip_kernels/gelu_swish.py``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LstmArithmetic:
    """The LSTM cell (docs/specification/recurrent.md section 3). Read by ``numerics/recurrent/cell_variants.py``."""

    rounds_cell_once: bool
    """The cell and the input of its tanh are each rounded from the exact sum; otherwise both products are saturated to
    32 bits and the cell is rounded from the tanh's input (docs/codes.md R15)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GruArithmetic:
    """The GRU cell (docs/specification/recurrent.md section 4). Read by ``numerics/recurrent/cell_variants.py``.

    What linger does otherwise than the float equation counts as ``compat`` says.
    """

    common_accumulator: bool
    """Pre-activations are added in the finer of the two products' formats and only then brought to the kernels' format;
    otherwise each product is brought to that first."""
    saturates_difference: bool
    """The difference that the update gate multiplies is saturated to 16 bits."""
    linger_keeps_new: bool
    """linger turns the update gate around: h' = h + z (n - h) (docs/codes.md R1)."""
    linger_stops_difference_gradient: bool
    """In linger that difference is a constant in the backward pass (docs/codes.md R2)."""
    linger_resets_before_product: bool
    """In linger the reset gate multiplies the hidden state before its matrix product (docs/codes.md R3)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChipKernels:
    """The functions that a chip computes in integers of its own."""

    sigmoid_tanh: SigmoidTanh
    """Read by ``numerics/chip_kernels``, ``numerics/recurrent``, ``interpret`` and the runner of files."""
    softmax: Softmax
    """Read by ``numerics/chip_kernels/softmax.py``."""
    gelu_swish: GeluSwish | None
    """None: the chip has neither; they stay float (docs/decisions.md D8). Read by ``numerics/chip_kernels`` and
    ``kinds``."""
    lstm: LstmArithmetic
    """Read by ``numerics/recurrent/cell_variants.py``."""
    gru: GruArithmetic
    """Read by ``numerics/recurrent/cell_variants.py``."""

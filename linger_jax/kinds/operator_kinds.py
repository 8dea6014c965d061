"""The quantized operators: what each is called, how the plan's nodes spell it, and where it has an integer kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from linger_jax.kinds import onnx_operators as ops
from linger_jax.kinds.kind import IN_FLAX_ORDER, OF_EACH_ELEMENT, OF_TWO_VALUES, Kind
from linger_jax.kinds.onnx_operator import OnnxOperator
from linger_jax.targets import Platform, target_of

_WITH_KERNELS = frozenset(platform for platform in Platform if target_of(platform).kernels is not None)
_GATED = frozenset(
    platform for platform in Platform if (own := target_of(platform).kernels) is not None and own.gelu_swish is not None
)
_FIXED_SCALES = frozenset(platform for platform in Platform if target_of(platform).fixes_scale_of_sigmoid)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChipFunction:
    """A function that a chip computes on integers.

    Attributes:
      kernel: the integer function, by its name in ``numerics.chip_kernels``.
      form: how it is called. ``squashing``: ``(x, platform, fraction_bits)``, for results whose scale may be fixed;
        ``gated``: ``(x, platform)``, Q27 in and out; ``rows``: ``(x, platform)`` along the last axis.
      exact: the float function to the last bit, by its name in ``numerics.float_functions``, where results crowd and
        their last bits decide a threshold; None where the float operation of the model is exact enough.

    Readers: interpret/kernel_functions.py, export/lower/lower_operators.py, export/runner/operators/run_functions.py.

    Source: docs/specification/chip_kernels.md.
    """

    kernel: str
    form: Literal["squashing", "gated", "rows"]
    exact: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatorKind(Kind):
    """One operator of docs/specification/ops.md.

    Attributes:
      name: its state is called ``_linger_qtensor_q<name>_<counter>`` (docs/specification/ops.md section 7).
      synonyms: other names that ``disable_ops`` takes. Readers: plan/settings.py, api/conversion.py.
      function: the chip function that computes it; None where it is the float operation on grid values. Readers:
        interpret/kernel_functions.py, export/lower/lower_operators.py.
      platforms: where that function exists; None for everywhere. Readers: plan/decide/plan_operators.py,
        interpret/kernel_functions.py, api/device/supported.py.
      fixed_scale_on: where its result lies at scale 2^(bits - 1) whatever the data (docs/specification/ops.md
        section 5). Readers: plan/decide/plan_operators.py, interpret/kernel_functions.py.
      is_limited: its result is never finer than its coarser operand (docs/specification/ops.md section 4). Reader:
        plan/decide/plan_operators.py.
      node_in_file: its operator in a file. Reader: export/lower/lower_operators.py.

    Source: docs/specification/ops.md and docs/specification/chip_kernels.md section 1.
    """

    synonyms: tuple[str, ...]
    function: ChipFunction | None
    platforms: frozenset[Platform] | None
    fixed_scale_on: frozenset[Platform]
    is_limited: bool
    node_in_file: OnnxOperator

    def runs_on(self, platform: Platform) -> bool:
        """Whether the platform can compute it."""
        return self.platforms is None or platform in self.platforms

    @property
    def is_function_of_each_element(self) -> bool:
        """Whether it is a chip function of one value, element by element; without a kernel it is a table of 8 bits."""
        return self.function is not None and self.function.form != "rows"

    @property
    def stem(self) -> str:
        """Start of the name of its state."""
        return f"_linger_qtensor_q{self.name}"


STACK = "stack"
"""The node of a concatenation along a new axis."""

ADD = OperatorKind(
    name="add",
    nodes=("add",),
    synonyms=(),
    passes=False,
    file=OF_TWO_VALUES,
    function=None,
    platforms=None,
    fixed_scale_on=frozenset(),
    is_limited=True,
    node_in_file=ops.QADD,
)

MUL = OperatorKind(
    name="mul",
    nodes=("mul", "scalar_division"),
    synonyms=("multiply",),
    passes=False,
    file=OF_TWO_VALUES,
    function=None,
    platforms=None,
    fixed_scale_on=frozenset(),
    is_limited=False,
    node_in_file=ops.QMUL,
)

MATMUL = OperatorKind(
    name="matmul",
    nodes=("dot_general",),
    synonyms=("bmm", "einsum", "dot"),
    passes=False,
    file=IN_FLAX_ORDER,
    function=None,
    platforms=None,
    fixed_scale_on=frozenset(),
    is_limited=False,
    node_in_file=ops.QBMM,
)

CAT = OperatorKind(
    name="cat",
    nodes=("concatenate", STACK),
    synonyms=("concatenate", "concat", "stack"),
    passes=False,
    file=IN_FLAX_ORDER,
    function=None,
    platforms=None,
    fixed_scale_on=frozenset(),
    is_limited=False,
    node_in_file=ops.QCAT,
)

SIGMOID = OperatorKind(
    name="sigmoid",
    nodes=("logistic",),
    synonyms=(),
    passes=False,
    file=OF_EACH_ELEMENT,
    function=ChipFunction(kernel="sigmoid", form="squashing", exact="sigmoid"),
    platforms=_WITH_KERNELS,
    fixed_scale_on=_FIXED_SCALES,
    is_limited=False,
    node_in_file=ops.QSIGMOID,
)

TANH = OperatorKind(
    name="tanh",
    nodes=("tanh",),
    synonyms=(),
    passes=False,
    file=OF_EACH_ELEMENT,
    function=ChipFunction(kernel="tanh", form="squashing", exact="tanh"),
    platforms=_WITH_KERNELS,
    fixed_scale_on=_FIXED_SCALES,
    is_limited=False,
    node_in_file=ops.QTANH,
)

GELU = OperatorKind(
    name="gelu",
    nodes=("gelu",),
    synonyms=(),
    passes=False,
    file=OF_EACH_ELEMENT,
    function=ChipFunction(kernel="gelu", form="gated", exact=None),
    platforms=_GATED,
    fixed_scale_on=frozenset(),
    is_limited=False,
    node_in_file=ops.QGELU,
)

SWISH = OperatorKind(
    name="swish",
    nodes=("silu",),
    synonyms=("silu",),
    passes=False,
    file=OF_EACH_ELEMENT,
    function=ChipFunction(kernel="swish", form="gated", exact=None),
    platforms=_GATED,
    fixed_scale_on=frozenset(),
    is_limited=False,
    node_in_file=ops.QSWISH,
)

SOFTMAX = OperatorKind(
    name="softmax",
    nodes=("softmax",),
    synonyms=(),
    passes=False,
    file=IN_FLAX_ORDER,
    function=ChipFunction(kernel="softmax", form="rows", exact=None),
    platforms=_WITH_KERNELS,
    fixed_scale_on=frozenset(),
    is_limited=False,
    node_in_file=ops.QSOFTMAX,
)

TABLE = OperatorKind(
    name="table",
    nodes=("table",),
    synonyms=("look_up",),
    passes=False,
    file=OF_EACH_ELEMENT,
    function=None,
    platforms=None,
    fixed_scale_on=frozenset(),
    is_limited=False,
    node_in_file=ops.QTABLE,
)
"""Any function of one value of 8 bits that is none of the others (plan/recognize/function_regions.py)."""

OPERATORS = (ADD, MUL, MATMUL, CAT, SIGMOID, TANH, GELU, SWISH, SOFTMAX, TABLE)
OPERATOR_NAMES: Mapping[str, OperatorKind] = {name: kind for kind in OPERATORS for name in (kind.name, *kind.synonyms)}
"""Every name that ``disable_ops`` takes."""

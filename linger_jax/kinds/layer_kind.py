"""The record of a layer kind: everything that more than one room must know of it, and nothing that it does."""

from __future__ import annotations

import dataclasses
import enum
from typing import Literal

from linger_jax.config import Platform
from linger_jax.kinds.kind import Kind
from linger_jax.kinds.operator_kinds import OperatorKind
from linger_jax.kinds.recurrent_cells import RecurrentCell


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizerRole:
    """One quantizer of a layer.

    Attributes:
      name: its state is called ``<name>_quantizer``.
      acts_on: what it quantizes; its width, rounding and kind follow from that. ``inner`` is an activation inside the
        layer, which has neither a bound nor a mark.
      parameter: name of the parameter that it reads as it is stored; None where it acts on what is computed.
      if_given: it exists only where the layer has that parameter; otherwise it exists unused.
      configured: its bound is the configuration's; otherwise it has the ``factor`` alone.
      factor: of a weight with a bound of its own: the bound in multiples of its mean magnitude.

    Readers: plan/decide (plan_layers.py, quantizer_specs.py), interpret/layers/constrained_layers.py.
    """

    name: str
    acts_on: Literal["input", "weight", "bias", "inner", "output"]
    parameter: str | None
    if_given: bool
    configured: bool
    factor: float | None

    @property
    def quantizer(self) -> str:
        """Its name in the ``quant`` collection."""
        return f"{self.name}_quantizer"


def weight_of(parameter: str | None) -> QuantizerRole:
    """The weight quantizer of a layer."""
    return QuantizerRole(
        name="weight", acts_on="weight", parameter=parameter, if_given=False, configured=True, factor=None
    )


def bias_of(parameter: str | None, *, if_given: bool = False) -> QuantizerRole:
    """The bias quantizer of a layer."""
    return QuantizerRole(
        name="bias", acts_on="bias", parameter=parameter, if_given=if_given, configured=True, factor=None
    )


INPUT = QuantizerRole(name="input", acts_on="input", parameter=None, if_given=False, configured=True, factor=None)
OUTPUT = dataclasses.replace(INPUT, name="output", acts_on="output")


class KernelOrder(enum.Enum):
    """How PyTorch's memory holds what Flax calls a kernel (plan/graph/kernel_layout.py has the permutations)."""

    matrix = "matrix"
    """[in, out] is [out, in] there; a kernel of more axes has no such form."""
    convolution = "convolution"
    """[window..., in, out] is [out, in, window...] there."""
    transposed_convolution = "transposed convolution"
    """[window..., in, out] is [in, out, window...] there, with its window mirrored."""


class TorchSort(enum.StrEnum):
    """What a PyTorch module must be to fill a layer: layers of one sort compete for the same modules."""

    product = enum.auto()
    norm = enum.auto()
    batch_norm = enum.auto()
    sparify_ffn = enum.auto()
    lstm = enum.auto()
    gru = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerKind(Kind):
    """One kind of layer. None of the columns has a default: a new kind says all of it.

    Each phase (decide, interpret, constrain, lower, convert) has a function for the kind, registered in its own room,
    or the record says here why not; tests/kinds/test_completeness.py knows no third state. Such a reason completes
    "<layer> has ...".

    Attributes:
      quantizers: its quantizers in the order of their state; empty where it has none, or as many as it has directions.
        Readers: plan/decide/plan_layers.py, interpret/layers/constrained_layers.py, api/device/supported.py.
      cell: of a recurrent layer, its cell. Readers: plan/decide/plan_recurrent.py, interpret, export/lower, converters.
      kernels: the chip functions inside it; it runs where all of them do. Readers: plan/decide, interpret,
        api/device/supported.py.
      batchable: ``vmap`` over its input leaves it one layer. Reader: staging/marker.py.
      looks_up: its input is indices; its result is rows of its weight, on the weight's grid. Reader:
        plan/decide/plan_layers.py.
      outside_modules: a product that the model writes out itself: it may share another layer's weight quantizer.
        Readers: plan/decide/plan_layers.py, plan/recognize/custom_layers.py.
      takes_norm: a batch normalization behind it can be folded into it. Reader: plan/fuse/fusion_search.py.
      is_marked: an activation behind it is noted for its output's statistic. Reader: plan/fuse/fusion_search.py.
      kernel_order: how PyTorch's memory holds its weights, where the order of a sum over them counts. Reader:
        plan/decide/plan_layers.py.
      torch_sort: which PyTorch modules can fill it; None where none can. Reader: converters/weights/torch_modules.py.
      float_because: why it is never quantized, or None. Readers: plan/decide/plan_layers.py, the completeness test.
      unconstrained_because: why it has no constrained form, or None. Reader: plan/decide/plan_layers.py.
      no_torch_weights: why converters cannot tell its weights by themselves, or None: they are read and written as
        parameters of no layer then. Readers: ``converters/model``, the completeness test.
    """

    quantizers: tuple[QuantizerRole, ...]
    cell: RecurrentCell | None
    kernels: tuple[OperatorKind, ...]
    batchable: bool
    looks_up: bool
    outside_modules: bool
    takes_norm: bool
    is_marked: bool
    kernel_order: KernelOrder | None
    torch_sort: TorchSort | None
    float_because: str | None
    unconstrained_because: str | None
    no_torch_weights: str | None

    @property
    def is_quantized(self) -> bool:
        """Whether it has a quantized form."""
        return self.float_because is None and (bool(self.quantizers) or self.cell is not None)

    @property
    def stored_weights(self) -> tuple[str, ...]:
        """The parameters that its weight quantizers read as they are stored."""
        weights = (role.parameter for role in self.quantizers if role.acts_on == "weight")
        return tuple(parameter for parameter in weights if parameter is not None)

    @property
    def recurrent_cell(self) -> RecurrentCell:
        """The cell of a recurrent layer, for those who know that it is one."""
        assert self.cell is not None, self.name
        return self.cell

    def runs_on(self, platform: Platform) -> bool:
        """Whether the platform has the kernels that it needs."""
        return all(kernel.runs_on(platform) for kernel in self.kernels)

    @property
    def kernels_in_words(self) -> str:
        """``sigmoid kernel``, ``sigmoid and tanh kernels``."""
        names = " and ".join(kernel.name for kernel in self.kernels)
        return f"{names} kernel{'s' if len(self.kernels) > 1 else ''}"

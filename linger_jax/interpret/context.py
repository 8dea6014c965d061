"""What one interpretation carries besides values: quantizer state in, quantizer state out."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

import jax

from linger_jax.config import Lowering
from linger_jax.interpret.recording import Recording
from linger_jax.plan import PlanSettings, Quantizer, Semantics
from linger_jax.quantizers import QTensor
from linger_jax.typing import Path

Array = jax.Array
Value = Any  # an Array or a QTensor
State = dict[Path, dict[str, Array]]


class Mode(enum.Enum):
    """What the quantizers do in this interpretation."""

    train = "train"
    evaluate = "evaluate"
    integer = "integer"
    """Evaluation that cannot be differentiated: the same integers (``interpret/integers``)."""
    calibrate = "calibrate"
    constrain = "constrain"
    rescale = "rescale"
    """Statistics stay and scales follow from them; values pass as they are."""


@dataclasses.dataclass
class Context:
    """Mutable only while one trace runs; regions of control flow get their own and hand results back explicitly.

    Attributes:
      settings: what the user asked for.
      quantizers: the plan's quantizers.
      mode: what the quantizers do.
      state: state of every quantizer reached, by path.
      writes_state: the caller asked for the statistics; a calibration pass without is one in evaluation mode
        (docs/codes.md O18).
      tied: training only: the common scales of tied quantizers in this region (tied_scales.py).
      non_finite: whether a quantizer saw NaN (``Mode.integer``), or NaN or infinity (calibration).
      recording: notes for those who ask for them; None otherwise.
    """

    settings: PlanSettings
    quantizers: Mapping[Path, Quantizer]
    mode: Mode
    state: State
    writes_state: bool = True
    tied: dict[Path, Array] = dataclasses.field(default_factory=dict)
    non_finite: dict[Path, Array] = dataclasses.field(default_factory=dict)
    recording: Recording | None = None

    @property
    def semantics(self) -> Semantics:
        """The compat record."""
        return self.settings.semantics

    @property
    def training(self) -> bool:
        """Whether statistics move."""
        return self.mode is Mode.train

    @property
    def evaluating(self) -> bool:
        """Whether stored scales are used as they are."""
        return self.mode in (Mode.evaluate, Mode.integer)

    @property
    def in_integers(self) -> bool:
        """Whether sums and products are formed of integers (docs/decisions.md D27)."""
        return self.mode is Mode.integer or (self.mode is Mode.evaluate and self.semantics.evaluates_in_integers)

    @property
    def in_float(self) -> bool:
        """Whether quantizers pass values unchanged, so that integer kernels would not get integers."""
        return self.mode in (Mode.calibrate, Mode.rescale)

    @property
    def fast(self) -> bool:
        """Whether equal but faster lowerings may be used."""
        return self.settings.config.lowering is Lowering.auto

    def region(self, state: State) -> Context:
        """A fresh context for the body of a control-flow operator."""
        return dataclasses.replace(self, state=dict(state), non_finite={})


def plain(value: Value) -> Any:
    """The float array of a value."""
    return value.value if isinstance(value, QTensor) else value

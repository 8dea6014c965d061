"""What one quantizer is: the frozen, hashable description that every quantizer function takes first."""

from __future__ import annotations

import dataclasses
from enum import StrEnum

from linger_jax.config import ActivationType, CalibrateExponent, Compat, QatMethod, QuantMethod, RoundMode
from linger_jax.errors import ConfigError

_BITS = range(2, 33)


class QuantizerKind(StrEnum):
    """What a quantizer acts on (docs/specification/quantizers.md section 1)."""

    activation = "activation"
    weight = "weight"
    bias = "bias"


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizerSpec:
    """Static description of one quantizer: two equal specifications share compiled code.

    Raises:
      ConfigError: a width outside 2..32, or ``RoundMode.ceil`` under ``Compat.chip``, which has no such rounding.

    Source: docs/specification/quantizers.md section 1.
    """

    kind: QuantizerKind
    bits: int
    round_mode: RoundMode = RoundMode.floor_add
    """Used by activation quantizers; weights and biases always round half to even."""
    qat_method: QatMethod = QatMethod.MOM
    quant_method: QuantMethod = QuantMethod.NATIVE
    activation_type: ActivationType = ActivationType.none
    """``Relu``: the statistic is the largest value instead of the largest magnitude."""
    clamp_value: float | None = None
    """Static clamp: ``clamp_activation_value`` of output quantizers, ``clamp_weight_value``, ``clamp_bias_value``."""
    clamp_factor: float | None = None
    """Weights: clamp to this multiple of the mean magnitude; wins over ``clamp_value``."""
    calibrate_name: str = "abs_max"
    """Registered name of the calibration function."""
    calibrate_exponent: CalibrateExponent = CalibrateExponent.nearest
    """How calibration goes from the range that the function found to a power of two."""
    calibrate_percentile: float = 99.99
    """Of the method ``percentile``: how much of the values the range covers."""
    counted_bound: float | None = None
    """Calibration counts the values beyond it, whether or not they are clamped there."""
    compat: Compat = Compat.chip

    def __post_init__(self) -> None:
        if self.bits not in _BITS:
            raise ConfigError(
                f"a {self.kind} quantizer cannot have {self.bits} bits: allowed are {_BITS[0]} to {_BITS[-1]}"
            )
        if self.round_mode is RoundMode.ceil and self.compat is Compat.chip:
            raise ConfigError(
                "round_mode 'ceil' is not available: no target chip rounds up and linger computes 'round' for it; "
                "use 'floor_add', 'floor' or 'round' (or compat: reference to reproduce linger)"
            )

    @property
    def rounding(self) -> RoundMode:
        """The rounding mode in effect under the NATIVE rules."""
        return self.round_mode if self.kind is QuantizerKind.activation else RoundMode.round

    @property
    def rounding_in_training(self) -> RoundMode:
        """The rounding mode in effect in training: the CUDA rules know one only.

        Source: docs/specification/quantizers.md section 8.
        """
        is_native = self.quant_method not in (QuantMethod.CUDA, QuantMethod.CUDA_GS)
        return self.rounding if is_native else RoundMode.floor_add

    @property
    def rounding_in_evaluation(self) -> RoundMode:
        """The rounding mode in effect in evaluation: the CUDA kernel knows one only.

        Source: docs/specification/quantizers.md section 8.
        """
        return RoundMode.floor_add if self.quant_method is QuantMethod.CUDA else self.rounding

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer of the grid."""
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1

    @property
    def clamps(self) -> bool:
        """Whether it clamps what it quantizes."""
        return self.clamp_value is not None or (self.kind is QuantizerKind.weight and self.clamp_factor is not None)

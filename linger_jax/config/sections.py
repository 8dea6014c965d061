"""The sections of a configuration: clamps, quantization, and parts that overlay both for some modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, PrivateAttr, StrictBool, StrictInt, StrictStr, field_validator

from linger_jax.config.enums import (
    ActivationType,
    Arithmetic,
    CalibrateExponent,
    GruForm,
    QatMethod,
    QuantMethod,
    RoundMode,
    Strategy,
)
from linger_jax.config.validation import Section

Bits = Annotated[StrictInt, Field(ge=2, le=32)]
"""Width of a quantized integer, sign included."""

Clamp = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
"""A limit on magnitudes, in float units."""

Percentage = Annotated[float, Field(strict=True, gt=0, le=100, allow_inf_nan=False)]

Name = Annotated[StrictStr, Field(min_length=1)]


class ClampInfo(Section):
    """Limits of the constrain mode, of calibration, and of the one-time weight clamp; null switches one off.

    The defaults are linger's. They hold in a configuration that has this section; without it, ``QuantConfig`` switches
    all limits off under ``compat: chip``.
    """

    homes: ClassVar = {"clamp_value": "nowhere; the keys are named clamp_<what>_value"}

    clamp_weight_value: Clamp | None = None
    """Weights are clipped to +-this.

    docs/specification/config.md section 5 says which one counts where the factor is set too.
    """
    clamp_bias_value: Clamp | None = None
    """Biases are clipped to +-this."""
    clamp_activation_value: Clamp | None = 8.0
    """Outputs of layers are clipped to +-this."""
    clamp_factor_value: Clamp | None = 7.0
    """Weights are clipped to +-(this times the mean magnitude of the tensor)."""


class QuantInfo(Section):
    """Widths, rounding and calibration of quantizers."""

    homes: ClassVar = {
        "quant_method": "at the top level",
        "platform": "at the top level",
        "input_bits": "in the quant_info of a part: it is a width of one layer",
        "output_bits": "in the quant_info of a part: it is a width of one layer",
        "activation_bits": "here under the name activate_bits",
    }

    weight_bits: Bits = 8
    """Width of weights."""
    activate_bits: Bits = 8
    """Width of activations: layer inputs and outputs, operands and results of operators."""
    bias_bits: Bits = 32
    """Width of biases."""
    a_strategy: Strategy = Strategy.RANGE_MEAN
    """Stored for the reference toolkit; changes nothing."""
    w_strategy: Strategy = Strategy.RANGE_MEAN
    """Stored for the reference toolkit; changes nothing."""
    is_symmetry: StrictBool = True
    """Only true: the chip has no zero points."""
    is_perchannel: StrictBool = False
    """Only false: the chip has one scale per tensor."""
    round_mode: RoundMode = RoundMode.floor_add
    """Rounding of activation quantizers; weights and biases always round ties to even."""
    activation_type: ActivationType = ActivationType.none
    """Activation that the quantizers' statistics assume; only ``Relu`` has an effect."""
    qat_method: QatMethod = QatMethod.MOM
    """Where training takes scales from: a moving statistic, or a trained threshold. Global: a part cannot change it."""
    w_calibrate_name: Name = "mse"
    """Calibration method of weight and bias quantizers; linger's default under ``compat: reference``."""
    a_calibrate_name: Name = "mse"
    """Calibration method of activation quantizers; linger's default under ``compat: reference``."""
    calibrate_percentile: Percentage = 99.99
    """How much of the values the range of the method ``percentile`` covers, in percent."""
    calibrate_exponent: CalibrateExponent = CalibrateExponent.least_error
    """How a calibration goes from the range to a scale; under ``compat: reference`` always ``nearest``."""
    arithmetic: Arithmetic = Arithmetic.executor
    """Whose integers layers train that the executor computes otherwise; under ``compat: reference`` always linger's."""
    gru_form: GruForm = GruForm.primitives
    """Whose cell a GRU trains where ``arithmetic`` is ``executor``."""


_LINGERS_METHODS: Mapping[str, str] = {"w_calibrate_name": "abs_max", "a_calibrate_name": "top_10"}
CLAMPS_OFF = ClampInfo(clamp_activation_value=None, clamp_factor_value=None)


def with_lingers_methods(info: QuantInfo) -> QuantInfo:
    """The section with linger's calibration methods in place of those that it does not name."""
    unnamed = {key: name for key, name in _LINGERS_METHODS.items() if key not in info.model_fields_set}
    return QuantInfo.model_construct(_fields_set=set(info.model_fields_set), **{**dict(info), **unnamed})


class _Overlay(Section):
    """A section of a part. What it names counts, so two overlays are equal only if they name the same keys."""

    @property
    def named(self) -> dict[str, Any]:
        """The keys that were given, with their values."""
        return {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, _Overlay) and self.named == other.named

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.named.items())))

    def __repr_args__(self) -> Any:
        return self.named.items()


class PartClampInfo(_Overlay, ClampInfo):
    """``ClampInfo`` of a part: only the keys it names count."""


class PartQuantInfo(_Overlay, QuantInfo):
    """``QuantInfo`` of a part: only the keys it names count."""

    homes: ClassVar = {key: home for key, home in QuantInfo.homes.items() if key not in ("input_bits", "output_bits")}

    input_bits: Bits | None = None
    """Width of the modules' input quantizer; an input that is already quantized keeps its own."""
    output_bits: Bits | None = None
    """Width of the modules' output quantizer."""


def _as_overlay(section: Any) -> Any:
    """Lets a part be built with a plain ``QuantInfo`` or ``ClampInfo``: the keys given to it are the named ones."""
    if type(section) in (QuantInfo, ClampInfo):
        return {key: getattr(section, key) for key in section.model_fields_set}
    return section


class Part(Section):
    """A mixed-precision section: settings of their own for some modules."""

    homes: ClassVar = (
        dict.fromkeys(PartQuantInfo.model_fields, "in the part's quant_info")
        | dict.fromkeys(ClampInfo.model_fields, "in the part's clamp_info")
        | {"names": "here under the name name"}
    )

    name: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Dotted module paths; each stands for the module and everything below it. One string is a list of one."""
    quant_info: Annotated[PartQuantInfo | None, BeforeValidator(_as_overlay)] = None
    """Quantization keys that differ from the global section."""
    clamp_info: Annotated[PartClampInfo | None, BeforeValidator(_as_overlay)] = None
    """Clamp keys that differ from the global section."""
    quant_method: QuantMethod | None = None
    """Global: may only repeat the configuration's."""
    _section: str | None = PrivateAttr(default=None)

    @field_validator("name", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, name: Any) -> Any:
        return (name,) if isinstance(name, str) else name

    def _meaning(self) -> tuple[object, ...]:
        return (self.name, self.quant_info, self.clamp_info, self.quant_method)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and self._meaning() == other._meaning()

    def __hash__(self) -> int:
        return hash(self._meaning())

    @property
    def section(self) -> str | None:
        """The key the part had in its file. A label only: it is not compared, and saving numbers the parts anew."""
        return self._section

    def labelled(self, section: str) -> Self:
        """Returns the part with the key of its file."""
        part = self.model_copy()
        part._section = section
        return part

"""The whole configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, StrictBool, StrictInt, StrictStr, field_validator, model_validator

from linger_jax.config.enums import Compat, Lowering, QuantMethod
from linger_jax.config.layer_config import LayerConfig, layer_config
from linger_jax.config.refusals import broken_rules
from linger_jax.config.sections import (
    CLAMPS_OFF,
    ClampInfo,
    Part,
    PartClampInfo,
    PartQuantInfo,
    QuantInfo,
    with_lingers_methods,
)
from linger_jax.config.validation import Section, problem_list
from linger_jax.errors import ConfigError
from linger_jax.path_patterns import unmatched
from linger_jax.targets import DEFAULT_PLATFORM, Platform, target_of

_DEVICE_NAME = re.compile(r"[A-Za-z]\w*(:\d+)?")


class QuantConfig(Section):
    """Everything that decides how a model is quantized. Frozen and hashable, so it can be a static argument of ``jit``.

    Build it with keyword arguments, or read it with ``load_config``. There is no process-wide configuration: each model
    carries its own.

    Raises:
      ConfigError: an unknown key, a value of another type or out of range, or values that exclude each other; the
        message lists all of them with what is allowed.
    """

    homes: ClassVar = (
        dict.fromkeys(QuantInfo.model_fields, "in quant_info")
        | dict.fromkeys(ClampInfo.model_fields, "in clamp_info")
        | {"input_bits": "in the quant_info of a part", "output_bits": "in the quant_info of a part"}
    )

    open_quant: StrictBool = True
    """False makes ``init`` return a model that computes exactly the float model."""
    quant_method: QuantMethod = QuantMethod.NATIVE
    """Rule set of fake quantization."""
    device: StrictStr | None = None
    """JAX platform (``cpu``, ``gpu``, ``cuda``, ``tpu``); null leaves it to JAX. Arrays stay where JAX puts them."""
    dtype: StrictStr = "float32"
    """Only float32: every exact result rests on it."""
    seed: Annotated[StrictInt, Field(ge=0, le=2**32 - 1)] = 42
    """Seed of ``init`` when no key is given, and of the command line tools."""
    platform: Platform = DEFAULT_PLATFORM
    """Target chip."""
    clamp_info: ClampInfo = CLAMPS_OFF
    """Limits on weights, biases and outputs; linger's by default under ``compat: reference``."""
    quant_info: QuantInfo = QuantInfo()
    """Widths, rounding and calibration."""
    parts: tuple[Part, ...] = ()
    """Mixed-precision sections; the first that names a module counts."""
    compat: Compat = Compat.chip
    """``chip``: what the chip's executor computes; ``reference``: linger 3.0.9 bit for bit, defects included."""
    lowering: Lowering = Lowering.auto
    """Whether CPU-optimised but equal forms of convolution and pooling may be used."""
    custom_layers: StrictBool = True
    """Whether a product with a parameter outside any known layer counts as a layer. Off under ``compat: reference``."""
    tie_concat_scales: StrictBool | None = None
    """Whether layers whose outputs meet in one concatenation share a scale; null: where the chip needs it."""

    @field_validator("quant_info", "clamp_info", mode="before")
    @classmethod
    def _no_part_section(cls, section: Any) -> Any:
        return section.named if isinstance(section, PartQuantInfo | PartClampInfo) else section

    @field_validator("dtype", mode="before")
    @classmethod
    def _dtype_name(cls, dtype: Any) -> Any:
        return dtype.removeprefix("torch.") if isinstance(dtype, str) else dtype

    @field_validator("device")
    @classmethod
    def _device_name(cls, device: str | None) -> str | None:
        if device is not None and not _DEVICE_NAME.fullmatch(device):
            raise ValueError("expected the name of a JAX platform, such as cpu, gpu, cuda or tpu")
        return device

    @model_validator(mode="after")
    def _defaults_of_the_reference(self) -> Self:
        """What is not named has linger's default there (docs/decisions.md D25 and D26)."""
        if self.compat is Compat.reference:
            self.__dict__["quant_info"] = with_lingers_methods(self.quant_info)
            if not self.names_clamps:
                self.__dict__["clamp_info"] = ClampInfo()
        return self

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        problems = tuple(
            broken_rules(
                quant_info=self.quant_info,
                parts=self.parts,
                quant_method=self.quant_method,
                dtype=self.dtype,
                compat=self.compat,
            )
        )
        if problems:
            raise ConfigError(problem_list(type(self).__name__, problems), problems)
        return self

    @property
    def names_clamps(self) -> bool:
        """Whether clamps are what the configuration says, and not a default."""
        return "clamp_info" in self.model_fields_set

    def for_constraining(self) -> Self:
        """The configuration of a stage that clips: with linger's limits where none are named."""
        return self if self.names_clamps else self.model_copy(update={"clamp_info": ClampInfo()})

    def for_path(self, path: str) -> LayerConfig:
        """Returns the settings of the module at the dotted ``path``; the root module's is the empty string."""
        return layer_config(
            path, quant_info=self.quant_info, clamp_info=self.clamp_info, parts=self.parts, compat=self.compat
        )

    def unmatched_part_names(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Returns the names in parts that fit none of the module ``paths`` of a model: probably misspelt."""
        names = (name for part in self.parts for name in part.name)
        return unmatched(names, paths, literal=self.compat is Compat.reference)

    @property
    def quantizes_custom_layers(self) -> bool:
        """``custom_layers`` as it counts: never under ``compat: reference`` (docs/decisions.md D23)."""
        return self.custom_layers and self.compat is Compat.chip

    @property
    def ties_concat_scales(self) -> bool:
        """``tie_concat_scales`` as it counts: null resolved; off under ``compat: reference``."""
        if self.compat is Compat.reference:
            return False
        asked = self.tie_concat_scales
        return target_of(self.platform).ties_concat_scales if asked is None else asked

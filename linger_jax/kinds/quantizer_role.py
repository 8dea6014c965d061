"""The quantizers of a layer: what each is called, what it acts on, and whose bound it has."""

from __future__ import annotations

import dataclasses
from typing import Literal


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

"""What one module sees of a configuration: the global sections with the module's part laid over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from linger_jax.config.enums import Compat
from linger_jax.config.sections import ClampInfo, Part, QuantInfo, with_lingers_methods
from linger_jax.path_patterns import matches


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerConfig:
    """The settings of one module, complete: nothing in it needs the global configuration again."""

    quant_info: QuantInfo
    """Widths, rounding and calibration. ``activate_bits`` holds for the operators the module calls."""
    clamp_info: ClampInfo
    input_bits: int
    """Width of the module's ``input_quantizer``."""
    output_bits: int
    """Width of the module's ``output_quantizer``."""
    part: str | None
    """The section of the part that the module belongs to, None where no part names it."""


def layer_config(
    path: str, *, quant_info: QuantInfo, clamp_info: ClampInfo, parts: Sequence[Part], compat: Compat
) -> LayerConfig:
    """Returns the settings of the module at the dotted ``path``.

    The module belongs to the first part that names it or one of its ancestors. Under ``compat: chip`` the keys that the
    part names replace those of the global sections; under ``compat: reference`` the keys it does not name fall back to
    the class defaults, as in the reference toolkit, and a trailing ``*`` in a name is an ordinary character.

    Source: docs/specification/config.md section 1.2, docs/decisions.md D10.
    """
    as_reference = compat is Compat.reference
    index = _first_match(parts, path, literal=as_reference)
    if index is None:
        bits = quant_info.activate_bits
        return LayerConfig(quant_info=quant_info, clamp_info=clamp_info, input_bits=bits, output_bits=bits, part=None)
    part = parts[index]
    quant_keys = dict(part.quant_info.named) if part.quant_info else {}
    clamp_keys = part.clamp_info.named if part.clamp_info else {}
    input_bits, output_bits = quant_keys.pop("input_bits", None), quant_keys.pop("output_bits", None)
    quant_base, clamp_base = quant_info, clamp_info
    if as_reference:
        quant_base, clamp_base = with_lingers_methods(QuantInfo()), ClampInfo()
        quant_keys["qat_method"] = quant_info.qat_method  # global whatever the part says
    overlaid = quant_base.model_copy(update=quant_keys)
    return LayerConfig(
        quant_info=overlaid,
        clamp_info=clamp_base.model_copy(update=clamp_keys),
        input_bits=input_bits or overlaid.activate_bits,
        output_bits=output_bits or overlaid.activate_bits,
        part=part.section or f"part{index + 1}",
    )


def _first_match(parts: Sequence[Part], path: str, *, literal: bool) -> int | None:
    for index, part in enumerate(parts):
        if any(matches(name, path, literal=literal) for name in part.name):
            return index
    return None

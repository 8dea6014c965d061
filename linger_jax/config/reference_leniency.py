"""What the reference toolkit lets pass in a configuration: under ``compat: reference`` only (docs/decisions.md D11).

It ignores unknown keys, prints a line for an unknown enum name and leaves the key as it was, and takes the ``name`` of
a part apart into letters where it is a plain string.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linger_jax.config.enums import QuantMethod
from linger_jax.config.file_keys import FILE_KEYS, NEVER_SAVED, is_part
from linger_jax.config.quant_config import QuantConfig
from linger_jax.config.sections import ClampInfo, Part, PartClampInfo, PartQuantInfo, QuantInfo
from linger_jax.config.validation import Section, enum_of
from linger_jax.config.yaml_source import KeyPath
from linger_jax.errors import ConfigProblem

_INNER: Mapping[tuple[type[Section], str], type[Section]] = {
    (QuantConfig, "quant_info"): QuantInfo,
    (QuantConfig, "clamp_info"): ClampInfo,
    (Part, "quant_info"): PartQuantInfo,
    (Part, "clamp_info"): PartClampInfo,
}


def forgive(mapping: Mapping[Any, Any]) -> tuple[dict[Any, Any], tuple[ConfigProblem, ...]]:
    """Returns the keys as the reference uses them, and a note on each that it drops or changes."""
    notes: list[ConfigProblem] = []
    return _forgiven(QuantConfig, mapping, (), notes), tuple(notes)


def _forgiven(
    section: type[Section], mapping: Mapping[Any, Any], path: KeyPath, notes: list[ConfigProblem]
) -> dict[Any, Any]:
    known = FILE_KEYS if section is QuantConfig else tuple(section.model_fields)
    kept: dict[Any, Any] = {}
    for key, value in mapping.items():
        here = (*path, str(key))
        inner = _INNER.get((section, key))
        if section is QuantConfig and is_part(key, value):
            kept[key] = _forgiven(Part, value, here, notes)
        elif key not in known:
            if (section, key) != (QuantConfig, NEVER_SAVED):
                notes.append(ConfigProblem(here, "unknown key, ignored"))
        elif inner and isinstance(value, Mapping):
            kept[key] = _forgiven(inner, value, here, notes)
        elif section is Part and key == "name" and isinstance(value, str):
            message = f"the text '{value}' is taken apart into letters, as the reference does; write a list: [{value}]"
            notes.append(ConfigProblem(here, message))
            kept[key] = list(value)
        elif _is_unknown_name(section, key, value):
            notes.append(ConfigProblem(here, f"unknown value '{value}', the key stays as it was"))
        else:
            kept[key] = value
    return kept


def _is_unknown_name(section: type[Section], key: str, value: object) -> bool:
    enum = enum_of(section, key)
    if enum is None or not isinstance(value, str):
        return False
    return value not in {member.value for member in enum} or value == QuantMethod.ONNX

"""What stands at the top level of a configuration file: the keys of ``QuantConfig``, and parts."""

from __future__ import annotations

from collections.abc import Mapping

from linger_jax.config.quant_config import QuantConfig
from linger_jax.config.validation import describe_unknown

FILE_KEYS = tuple(key for key in QuantConfig.model_fields if key != "parts")
"""``parts`` has no key of its own: each part is a section."""

NEVER_SAVED = "calibration"
"""The reference toolkit's switch for its calibration context; ignored where a file has it."""


def is_part(key: object, value: object) -> bool:
    """Tells whether a top-level key holds a mixed-precision part: a section with a ``name`` and a key of its own."""
    return key not in FILE_KEYS and isinstance(value, Mapping) and "name" in value


def describe_unknown_top_key(key: str, value: object) -> str:
    """Says what may be meant by a key that is neither a setting nor a part."""
    if key == "parts":
        return "each part is a section of its own at the top level: `part1: {name: [...], quant_info: {...}}`"
    home = QuantConfig.homes.get(key)
    if home:
        return f"unknown key. '{key}' belongs {home}"
    hint = " A mixed-precision part needs a `name` list, which this section lacks" if isinstance(value, Mapping) else ""
    return f"unknown key. {describe_unknown(key, FILE_KEYS)}.{hint}".removesuffix(".")

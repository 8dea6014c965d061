"""Writes a configuration as YAML that both ``load_config`` and the reference toolkit read."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Any

import yaml

from linger_jax.atomic_file import write_file
from linger_jax.config.file_keys import FILE_KEYS
from linger_jax.config.quant_config import QuantConfig
from linger_jax.config.sections import Part
from linger_jax.config.validation import Section
from linger_jax.errors import ConfigError


def config_to_mapping(config: QuantConfig) -> dict[str, Any]:
    """Returns the configuration as plain keys and values; ``load_config`` of them gives an equal configuration.

    Parts become the sections ``part1``, ``part2``, ... and hold the keys they name. The numbers are padded (``part01``)
    so that sorting the keys keeps their order, which is their precedence.
    """
    keys = {key: _plain(getattr(config, key)) for key in FILE_KEYS}
    keys["dtype"] = f"torch.{config.dtype}"
    digits = len(str(len(config.parts)))
    return keys | {f"part{i:0{digits}}": _plain_part(part) for i, part in enumerate(config.parts, 1)}


def config_save_to_yaml(path: str | os.PathLike[str], config: QuantConfig) -> None:
    """Writes the configuration: sorted keys, block style, enums by name (docs/specification/config.md section 1.3).

    Missing folders are made. A failure leaves no partial file: an older one stays until the new one is complete.

    Raises:
      FileError: the file cannot be written.
      ConfigError: ``config`` is no configuration, or path and configuration stand in each other's place.
    """
    _require_configuration(path, config)
    text = yaml.safe_dump(config_to_mapping(config), default_flow_style=False, sort_keys=True, allow_unicode=True)
    write_file(path, text)


def _require_configuration(path: object, config: object) -> None:
    if not isinstance(config, QuantConfig):
        turned = isinstance(path, QuantConfig) and isinstance(config, str | os.PathLike)
        got = "the path and the configuration are turned around" if turned else f"got a {type(config).__name__}"
        raise ConfigError(f"config_save_to_yaml(path, config) wants a path and a QuantConfig; {got}")


def _plain_part(part: Part) -> dict[str, Any]:
    keys: dict[str, Any] = {"name": list(part.name)}
    if part.quant_method is not None:
        keys["quant_method"] = part.quant_method.value
    for section in ("quant_info", "clamp_info"):
        overlay = getattr(part, section)
        if overlay is not None:
            keys[section] = {key: _plain(value) for key, value in overlay.named.items()}
    return keys


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return {key: _plain(entry) for key, entry in value}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 8, as the reference writes it, not 8.0
    return value

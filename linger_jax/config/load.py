"""Builds a configuration from a file, a mapping or another configuration."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linger_jax.config.enums import Compat
from linger_jax.config.file_keys import FILE_KEYS, NEVER_SAVED, describe_unknown_top_key, is_part
from linger_jax.config.quant_config import QuantConfig
from linger_jax.config.reference_leniency import forgive
from linger_jax.config.validation import MOST_PROBLEMS, Section
from linger_jax.config.yaml_source import KeyPath, Source, read_yaml
from linger_jax.errors import ConfigError, ConfigProblem, LingerWarning

ConfigSource = str | os.PathLike[str] | Mapping[str, Any] | QuantConfig | None
"""What every ``config`` argument takes: a YAML file, a mapping of its keys, a configuration, None for the defaults."""


def load_config(
    source: ConfigSource = None, *, overrides: Mapping[str, Any] | None = None, base: QuantConfig | None = None
) -> QuantConfig:
    """Returns the configuration that ``source`` describes (docs/specification/config.md section 1).

    Args:
      source: a YAML file, a mapping of the same keys, or a configuration.
      overrides: keys that win over those of ``source``, a section's key by key. Parts among them (sections with a
        ``name``) replace those of ``source``.
      base: gives the keys that neither names; a file or mapping replaces its parts. Without it, the defaults do.
        It has no effect where ``source`` is a configuration, which names every key.

    Raises:
      ConfigError: a file that is missing or no YAML, an unknown key or name, a value of another type or out of
        range, or values that exclude each other. The message lists all of them with file, line and key.
    """
    if isinstance(source, QuantConfig):
        source, base = None, source
    base = base or QuantConfig()
    layers = [_source(source), Source(overrides or {}, "overrides")]
    compat = next((layer.mapping["compat"] for layer in reversed(layers) if "compat" in layer.mapping), base.compat)
    if compat == Compat.reference:
        for index, layer in enumerate(layers):
            layers[index] = _forgiven(layer)
    keys = _Keys.of(base, keep_parts=source is None)
    for layer in layers:
        keys.lay_over(layer)
    return keys.build(layers)


def _source(source: str | os.PathLike[str] | Mapping[str, Any] | None) -> Source:
    if source is None:
        return Source({}, "configuration")
    if isinstance(source, Mapping):
        return Source(source, "configuration")
    if isinstance(source, str | os.PathLike):
        return read_yaml(Path(source))
    raise ConfigError(f"a configuration is a path, a mapping or a QuantConfig, got a {type(source).__name__}")


def _forgiven(layer: Source) -> Source:
    mapping, notes = forgive(layer.mapping)
    for note in notes[:MOST_PROBLEMS]:
        warnings.warn(f"{layer.where(note.path)}: {note}", LingerWarning, stacklevel=3)
    return Source(mapping, layer.title, layer.lines)


_SECTIONS = ("quant_info", "clamp_info")


@dataclass
class _Keys:
    """Keys on their way into a ``QuantConfig``."""

    settings: dict[str, Any]
    """Only those that are named: a default may depend on another key."""
    parts: list[tuple[str | None, Any]]
    """Section key and part; a part that was never in a file has no key."""
    problems: list[tuple[str, ConfigProblem]] = field(default_factory=list)
    """Where each stands, and what it is."""

    @classmethod
    def of(cls, config: QuantConfig, *, keep_parts: bool) -> _Keys:
        settings = {key: getattr(config, key) for key in FILE_KEYS if key in config.model_fields_set}
        return cls(settings, [(part.section, part) for part in config.parts] if keep_parts else [])

    def lay_over(self, layer: Source) -> None:
        parts: list[tuple[str | None, Any]] = []
        for key, value in self._with_text_keys(layer, layer.mapping, ()).items():
            if is_part(key, value):
                parts.append((key, {k: {} if v is None and k != "name" else v for k, v in value.items()}))
            elif key in _SECTIONS and value is None:
                pass  # a heading without keys below it
            elif key in FILE_KEYS:
                self.settings[key] = _laid_over(self.settings.get(key), value)
            elif key != NEVER_SAVED and len(self.problems) < MOST_PROBLEMS:
                self._note(layer, (key,), describe_unknown_top_key(key, value))
        self.parts = parts or self.parts

    def _note(self, layer: Source, path: KeyPath, message: str) -> None:
        self.problems.append((layer.where(path), ConfigProblem(path, message)))

    def _with_text_keys(self, layer: Source, mapping: Mapping[Any, Any], path: KeyPath) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in mapping.items():
            here = (*path, str(key))
            if not isinstance(key, str):
                self._note(layer, here, f"a key is text, got {key!r}")
            else:
                kept[key] = self._with_text_keys(layer, value, here) if isinstance(value, Mapping) else value
        return kept

    def build(self, layers: Sequence[Source]) -> QuantConfig:
        names = [name for name, _ in self.parts]
        try:
            config = QuantConfig(**self.settings, parts=tuple(part for _, part in self.parts))
        except ConfigError as error:
            for problem in error.problems:
                path = _path_in_file(problem.path, names)
                self.problems.append((_where(path, layers), ConfigProblem(path, problem.message)))
        if self.problems:
            lines = [f"{where}: {problem}" for where, problem in self.problems]
            summary = lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} problems", *lines])
            raise ConfigError(summary, [problem for _, problem in self.problems])
        labelled = tuple(part.labelled(name) if name else part for part, name in zip(config.parts, names, strict=True))
        return config.model_copy(update={"parts": labelled})


def _laid_over(old: Any, new: Any) -> Any:
    """Returns a section's old keys with the new ones over them; a value that is no section replaces the old one."""
    named = {key: getattr(old, key) for key in old.model_fields_set} if isinstance(old, Section) else old
    return {**named, **new} if isinstance(named, Mapping) and isinstance(new, Mapping) else new


def _path_in_file(path: KeyPath, part_names: Sequence[str | None]) -> KeyPath:
    """Returns the path with a part's position replaced by the key of its section."""
    if path[:1] == ("parts",) and len(path) > 1 and isinstance(path[1], int):
        return (part_names[path[1]] or f"part{path[1] + 1}", *path[2:])
    return path


def _where(path: KeyPath, layers: Sequence[Source]) -> str:
    """Names the layer that gave the key at ``path``, or the nearest section around it; the last one wins."""
    for length in range(len(path), 0, -1):
        for layer in reversed(layers):
            if layer.holds(path[:length]):
                return layer.where(path)
    return "base configuration"

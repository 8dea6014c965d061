"""Reads a YAML file into a mapping and remembers the line of every key, for error messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from linger_jax.bounded_yaml import MOST_BYTES, YamlDocument
from linger_jax.errors import ConfigError
from linger_jax.foreign_file import foreign_file

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Configuration keys with where they come from."""

    mapping: Mapping[Any, Any]
    title: str
    """Names the origin in messages: a file, or 'configuration mapping'."""
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    """Path of a key -> its line, counted from 1; empty where the keys do not come from a file."""

    def holds(self, path: KeyPath) -> bool:
        """Tells whether the key at ``path`` is among these."""
        found: Any = self.mapping
        for step in path:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return False
        return True

    def where(self, path: KeyPath) -> str:
        """Returns the origin of the key at ``path``, with its line or that of the nearest section around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.title}, line {self.lines[path[:length]]}"
        return self.title


def read_yaml(path: Path) -> Source:
    """Reads a configuration file; an empty one is an empty mapping.

    Raises:
      ConfigError: the file is missing, unreadable, no YAML, no mapping, or names a key twice.
    """
    title = str(path)
    with foreign_file(path, ConfigError, "YAML file", most_bytes=MOST_BYTES):
        text = path.read_text(encoding="utf-8")
        try:
            document = YamlDocument(text)
            lines: dict[KeyPath, int] = {}
            if document.node is not None:
                _collect_lines(document.node, (), lines, title)
            mapping = document.value()
        except yaml.YAMLError as error:
            raise ConfigError(f"{title}: not a readable YAML file: {error}{_advice(text)}") from error
    if mapping is None:
        return Source({}, title)
    if not isinstance(mapping, dict):
        raise ConfigError(f"{title}: expected `key: value` lines at the top of the file, found {mapping!r:.60}")
    return Source(mapping, title, lines)


def _collect_lines(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], title: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            _collect_lines(item, (*path, index), lines, title)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # no key of a configuration; refused where the mapping is made
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and name != "<<":
                raise ConfigError(f"{title}: the key '{name}' stands on line {seen[name]} and again on line {line}")
            seen[name] = lines[(*path, name)] = line
            _collect_lines(value, (*path, name), lines, title)


def _advice(text: str) -> str:
    if "!!python/" in text:
        return (
            "\nThe file holds Python objects, as the reference toolkit writes mixed-precision parts. Write each part "
            "as a section of its own: `part1: {name: [...], quant_info: {...}}`"
        )
    return ""

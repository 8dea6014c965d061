"""The forms of the user's ``mapping``: names, regular expressions, a YAML file, the report of an import."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from linger_jax.bounded_yaml import MOST_BYTES, YamlDocument
from linger_jax.converters.match.rule_patterns import rule_pattern
from linger_jax.converters.report import ImportReport
from linger_jax.errors import ConversionError
from linger_jax.foreign_file import foreign_file

Names = Mapping[str, str | None]
Rules = Sequence[tuple[str, str | None]]
GivenNames = Names | Rules | ImportReport | str | os.PathLike[str] | None


def read_names(given: GivenNames, keys: Collection[str]) -> dict[str, str | None]:
    """The names that a mapping means.

    Args:
      given: a mapping; a list of ``(regular expression, replacement)``, of which the first that matches a whole key, or
        a whole module name, counts; a YAML file of either; the report of an import; or None.
      keys: of the checkpoint.

    Raises:
      ConversionError: none of these, a wrong expression, or a rule that matches nothing.
    """
    if given is None:
        return {}
    if isinstance(given, ImportReport):
        return dict(given.mapping)
    where = "mapping"
    if isinstance(given, (str, os.PathLike)):
        where = f"mapping {os.fspath(given)}"
        given = _file(given)
    if isinstance(given, Mapping):
        _check(given.items(), where)
        return dict(given)
    if (
        not isinstance(given, Sequence)
        or isinstance(given, str)
        or not all(isinstance(r, (tuple, list)) and len(r) == 2 for r in given)
    ):
        raise ConversionError(f"{where}: expected names, a list of (regular expression, replacement), or a YAML file")
    _check(given, where)
    return _by_rules([(pattern, path) for pattern, path in given], keys, where)


def names_in_file(path: str | os.PathLike[str]) -> Names:
    """The names in a YAML file, for the way back.

    Raises:
      ConversionError: it cannot be read, or holds rules, which lead one way only.
    """
    where = f"mapping {os.fspath(path)}"
    names = _file(path)
    if not isinstance(names, Mapping):
        raise ConversionError(
            f"{where}: holds rules, which cannot be turned around; save the names of an import's report"
        )
    _check(names.items(), where)
    return dict(names)


def _file(path: str | os.PathLike[str]) -> Any:
    with foreign_file(path, ConversionError, "YAML file of names or rules", most_bytes=MOST_BYTES) as file:
        return YamlDocument(file.read_text(encoding="utf-8")).value() or {}


def _check(pairs: Any, where: str) -> None:
    for name, path in pairs:
        if not isinstance(name, str) or not (path is None or isinstance(path, str)):
            raise ConversionError(f"{where}: {name!r}: {path!r} is not a pair of names (or a name and null)")


def _by_rules(rules: Rules, keys: Collection[str], where: str) -> dict[str, str | None]:
    candidates = dict.fromkeys(name for key in keys for name in (key, key.rpartition(".")[0]) if name)
    patterns = [(rule_pattern(pattern, candidates, where), path) for pattern, path in rules]
    found: dict[str, str | None] = {}
    used = set()
    for name in candidates:
        for i, (pattern, path) in enumerate(patterns):
            match = pattern.fullmatch(name)
            if match is not None:
                try:
                    found[name] = None if path is None else match.expand(path)
                except (re.error, IndexError) as error:
                    raise ConversionError(
                        f"{where}: {path!r} asks for a group that {pattern.pattern!r} lacks"
                    ) from error
                used.add(i)
                break
    unused = [pattern.pattern for i, (pattern, _) in enumerate(patterns) if i not in used]
    if unused:
        raise ConversionError(f"{where}: no key or module of the checkpoint matches {', '.join(map(repr, unused))}")
    return found

"""Turns what pydantic found wrong into configuration errors that say what is allowed and what was probably meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from linger_jax.errors import ConfigError, ConfigProblem
from linger_jax.nearest_name import nearest_name

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MOST_PROBLEMS = 100
"""That are looked for; a file with more is no configuration."""
_LONGEST_SHOWN = 200
"""Characters of a wrong value in a message."""

_KIND_OF_ERROR = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number; null switches it off",
    "string_type": "text",
    "tuple_type": "a list",
    "model_type": "a section with keys of its own",
    "model_attributes_type": "a section with keys of its own",
    "string_too_short": "some text",
    "too_short": "at least one",
}
"""pydantic's name of a wrong type -> what was expected, in words."""


class Section(BaseModel):
    """A frozen, hashable group of configuration keys; unknown keys and values of another type are errors.

    Raises:
      ConfigError: lists everything wrong with the keys of this section and of the sections in it.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    homes: ClassVar[Mapping[str, str]] = {}
    """Keys of other sections that are often written in this one -> where they belong."""

    if not TYPE_CHECKING:  # type checkers keep the typed signature that pydantic declares

        def __init__(self, **keys: Any) -> None:
            try:
                super().__init__(**keys)
            except ValidationError as error:
                problems = tuple(_problems(type(self), error))
                raise ConfigError(problem_list(type(self).__name__, problems), problems) from None


def problem_list(title: str, problems: tuple[ConfigProblem, ...]) -> str:
    """Renders problems below a title, one a line; a single one goes on the title's line."""
    if len(problems) == 1:
        return f"{title}: {problems[0]}"
    return "\n".join([f"{title}: {len(problems)} problems", *(f"  {problem}" for problem in problems)])


def describe_unknown(key: str, allowed: tuple[str, ...]) -> str:
    """Says that a name is not known, with the nearest one and all that are."""
    guess = nearest_name(key, allowed)
    meant = f"Did you mean '{guess}'? " if guess else ""
    return f"{meant}Allowed: {', '.join(allowed)}"


def enum_of(section: type[BaseModel], key: str) -> type[StrEnum] | None:
    """Returns the closed set of values that a key takes, or None where it takes something else."""
    field = section.model_fields.get(key)
    annotation = field.annotation if field else None
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, StrEnum):
            return candidate
    return None


def _problems(section: type[Section], error: ValidationError) -> Iterator[ConfigProblem]:
    for detail in error.errors(include_url=False)[:MOST_PROBLEMS]:
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):  # from a section inside this one, or from a rule across keys
            for problem in cause.problems:
                yield ConfigProblem((*detail["loc"], *problem.path), problem.message)
        else:
            yield ConfigProblem(detail["loc"], _message(section, detail))


def _message(section: type[Section], detail: ErrorDetails) -> str:
    kind, value = detail["type"], detail["input"]
    key = str(detail["loc"][0]) if detail["loc"] else ""
    if kind == "extra_forbidden":
        return f"unknown key. {_describe_unknown_key(section, key)}"
    if kind == "missing":
        return "this key is needed"
    if kind == "enum":
        allowed = tuple(enum_of(section, key) or ())
        if isinstance(value, str):
            return f"unknown value '{value}'. {describe_unknown(value, allowed)}"
        return f"expected one of {', '.join(allowed)}, got {_shown(value)}"
    if kind in ("greater_than_equal", "less_than_equal", "greater_than"):
        return f"{value} is out of range. {_range_of(section, key)}"
    if kind in _KIND_OF_ERROR:
        return f"expected {_KIND_OF_ERROR[kind]}, got {_shown(value)}{_advice(kind, value)}"
    return f"{detail['msg'].removeprefix('Value error, ')}, got {_shown(value)}"


def _describe_unknown_key(section: type[Section], key: str) -> str:
    home = section.homes.get(key)
    return f"'{key}' belongs {home}" if home else describe_unknown(key, tuple(section.model_fields))


def _range_of(section: type[Section], key: str) -> str:
    """The range of a number, read from the schema: an error's own context holds only the end that was passed."""
    schema = section.model_json_schema()["properties"][key]
    number = next((option for option in schema.get("anyOf", ()) if option["type"] != "null"), schema)
    if "exclusiveMinimum" in number:
        return f"Allowed: more than {number['exclusiveMinimum']:g}, or null for no clamp"
    return f"Allowed: {number['minimum']} to {number['maximum']}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"a section with the keys {', '.join(map(str, value))[:_LONGEST_SHOWN] or '(none)'}"
    if isinstance(value, str):
        return f"the text '{value}'"
    return f"{value!r:.{_LONGEST_SHOWN}}"


def _advice(kind: str, value: Any) -> str:
    """Tells how to write a number that YAML took for text: in quotes, or 1e-3, which lacks the point YAML 1.1 wants."""
    if not isinstance(value, str) or kind not in ("int_type", "float_type"):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if number.is_integer():
        return f"; write {int(number)}, without quotes"
    return f"; write {yaml.safe_dump(number).split()[0]}, without quotes and with a decimal point"

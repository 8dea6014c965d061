"""Patterns of rules: what might never end is refused before it is matched, what people write is not."""

import re

import pytest

from linger_jax.converters.match.rule_patterns import rule_pattern
from linger_jax.converters.match.user_mapping import read_names
from linger_jax.errors import ConversionError

NAMES = [
    *(f"backbone.layers.{i}.blocks.{j}.attn.{n}.weight" for i in range(12) for j in range(6) for n in ("query", "key")),
    "a" * 40,
]


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+b",
        r"(a|aa)+b",
        r"(a|a)*b",
        r"((a*)*)*b",
        r"(.*)(.*)(.*)(.*)(.*)(.*)x",
        r"(?:.*a){20}",
        r"(a?){60}a{60}",
        r"(?i)(a+A+)+b",
    ],
)
def test_patterns_that_might_never_end_are_refused(pattern):
    with pytest.raises(ConversionError, match=r"file: .* can fit a name in too many ways"):
        rule_pattern(pattern, NAMES, "file")


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        (r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.attn\.(query|key)\.(weight|bias)", 144),
        (r"(.*)\.(\d+)\.(.*)\.weight", 144),
        (r"(\w+)\.(\w+)\.(\w+)\.(\w+)\.(\w+)\.(\w+)\.(\w+)\.(\w+)", 144),
        (r"(?:\w+\.)*weight", 144),
        (r"(?P<head>[^.]+)\.([^.]*)\.([^.]*)\.(.*)", 144),
        (r"(?!head)(.*)", 145),
        (r"(?i)BACKBONE\.(.*)", 144),
        (r"a{40}", 1),
        (r"backbone\.(?:layers\.\d+\.)?(.+)\.weight$", 144),
    ],
)
def test_patterns_that_people_write_match_as_ever(pattern, matched):
    compiled = rule_pattern(pattern, NAMES, "file")
    assert sum(compiled.fullmatch(name) is not None for name in NAMES) == matched
    assert compiled == re.compile(pattern)


def test_a_file_of_rules_with_such_a_pattern_is_refused_by_name(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(r"[['(a+)+b', x]]")
    with pytest.raises(ConversionError, match=re.escape(str(path))):
        read_names(path, NAMES)


@pytest.mark.parametrize("pattern", ["(" * 5000, "a{99999999999}", "a" * 1001, "["])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(ConversionError, match=r"^file: "):
        rule_pattern(pattern, NAMES, "file")

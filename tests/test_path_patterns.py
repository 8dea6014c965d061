"""Path patterns: their rule, and the golden cases of ``disable_submodel``.

Source: docs/specification/config.md sections 1.2 and 2.2.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linger_jax.nearest_name import nearest_name
from linger_jax.path_patterns import matches, unmatched

GOLDEN = json.loads(
    (Path(__file__).parent / "golden/data/layers/config_disable_submodel.expected.json").read_text(encoding="utf-8")
)
NAMES = st.text("abc1_", min_size=1, max_size=4)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: ",".join(case["disable_submodel"]) or "none")
@pytest.mark.parametrize(("literal", "expected"), [(False, "wanted_left_float"), (True, "reference_left_float")])
def test_golden_disable_submodel(case, literal, expected):
    layers = GOLDEN["linear_layers"]
    left_float = [p for p in layers if any(matches(n, p, literal=literal) for n in case["disable_submodel"])]
    assert left_float == case[expected]


@given(PATHS, NAMES)
def test_a_pattern_names_its_module_and_everything_below_with_and_without_a_star(path, child):
    for pattern in (path, f"{path}*"):
        assert matches(pattern, path)
        assert matches(pattern, f"{path}.{child}")
        assert not matches(pattern, f"{path}{child}")
        assert not matches(f"{pattern}", f"{child}.{path}") or f"{child}.{path}".startswith(f"{path}.")


@given(PATHS)
def test_a_module_below_the_pattern_does_not_drag_in_its_parent(path):
    assert not matches(f"{path}.inner", path)


def test_only_one_star_is_stripped_and_a_lone_star_names_the_whole_model():
    assert not matches("fc1**", "fc1")
    assert not matches("f*1", "fc1")
    assert matches("*", "")
    assert matches("*", "block.conv1")
    assert not matches("*", "fc1", literal=True)


def test_unmatched_lists_the_patterns_without_a_module_in_their_order():
    assert unmatched(["fc9", "block", "nothere*", "fc1*"], ["fc1", "block.0"]) == ("fc9", "nothere*")
    assert unmatched(["fc1*"], ["fc1"], literal=True) == ("fc1*",)


def test_the_nearest_name_ignores_case_and_gives_up_on_strangers():
    assert nearest_name("venusa", ["venus", "venusA"]) == "venusA"
    assert nearest_name("wieght_bits", ["bias_bits", "weight_bits"]) == "weight_bits"
    assert nearest_name("pluto", ["venus", "mars"]) is None

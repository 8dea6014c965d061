"""A case that goes wrong becomes the smallest one that still does."""

import dataclasses

import pytest

from tests.equality.counterexample import program
from tests.equality.drawn.case import Case, Input, Line, Numbers
from tests.equality.judging import Verdict, reason
from tests.equality.shrinking import shrink

LARGE = Case(
    (Input("a0", (5, 7)), Input("a1", (3,), 11)),
    (
        Line("v0", "nn.Dense(7)(a0)", "dense"),
        Line("v1", "nn.relu(v0)", "relu"),
        Line("v2", "nn.LayerNorm()(v1)", "layer_norm"),
        Line("v3", "nn.Embed(11, 4)(a1)", "embed"),
        Line("v4", "v2 + nn.Dense(7)(v1)", "add"),
    ),
    ("v4", "v3"),
    '{"platform": "arcs", "quant_info": {"round_mode": "floor", "weight_bits": 4}, "part": {"name": ["Dense_0"]}}',
    Numbers(seed=3, weights=1e6, steps=2, calibrated=False),
    batch=5,
)


def test_what_the_fault_does_not_need_goes():
    smallest = shrink(LARGE, lambda case: "layer_norm" in case.kinds)
    assert [line.text for line in smallest.lines] == ["nn.LayerNorm()(a0)"]
    assert smallest == Case(
        (Input("a0", (1, 1)),), (Line("v2", "nn.LayerNorm()(a0)", "layer_norm"),), ("v2",), '{"platform": "arcs"}',
        Numbers(seed=0), batch=1,
    )  # fmt: skip


def test_what_the_fault_needs_stays():
    def wrong(case):
        narrow = case.configuration.get("quant_info", {}).get("weight_bits") == 4
        return narrow and case.batch > 1 and case.numbers.weights > 1 and case.inputs[0].shape[-1] >= 3

    smallest = shrink(LARGE, wrong)
    assert smallest.configuration == {"platform": "arcs", "quant_info": {"weight_bits": 4}}
    assert (smallest.batch, smallest.inputs[0].shape, smallest.numbers.weights) == (2, (1, 3), 1e6)
    assert len(smallest.lines) == 1


def test_shrinking_ends_after_as_many_tries_as_it_may_take():
    tried = []
    shrink(LARGE, lambda case: bool(tried.append(case)), tries=7)
    assert len(tried) == 7


def test_a_case_never_goes_wrong_in_another_way_for_being_shrunk():
    differs = Verdict((("apply",), ("integer",)), {}, {}, {})
    assert differs.alike(Verdict((("apply", "jitted"), ("integer", "linger_file")), {}, {}, {}))
    assert not differs.alike(Verdict((("apply", "integer"), ("jitted",)), {}, {}, {}))
    assert not differs.alike(Verdict((("apply", "integer"),), {}, {"torch": "StopIteration"}, {}))


def test_gradients_are_compared_with_gradients():
    verdict = Verdict((("apply", "integer"), ("slopes",), ("remat_slopes",)), {}, {}, {})
    assert (verdict.outcome, verdict.differing) == ("differs", ("remat_slopes",))
    assert Verdict((("apply",), ("slopes",)), {}, {}, {}).outcome == "equal"


@pytest.mark.parametrize("width", [3, 17])
def test_reasons_do_not_hang_on_the_model(width):
    error = ValueError(f"Dense_{width}: layer 'block_{width}' wants {width} (at <case>:{width})")
    assert reason(error) == "ValueError: _ layer _ wants _ "[:-1]


def test_a_counterexample_is_a_program_that_stands_alone():
    case = dataclasses.replace(LARGE, numbers=Numbers(seed=3))
    text = program(case, Verdict((("apply",), ("linger_file",)), {}, {}, {}))
    compile(text, "<case>", "exec")
    assert "def linger_file" in text
    assert "tests" not in text

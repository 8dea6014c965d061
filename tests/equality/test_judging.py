"""Ways that differ are told apart, and refusals from failures."""

import dataclasses

import numpy as np
import pytest

from linger_jax.errors import ExportError
from tests.equality.drawn.case import Case, Input, Line, Numbers
from tests.equality.judging import MAKING, judge
from tests.equality.ways import EVALUATIONS, GRADIENTS, apply

SMALL = Case(
    (Input("a0", (3,)),), (Line("v0", "nn.Dense(2)(a0)", "dense"),), ("v0",), '{"platform": "arcs"}', Numbers(seed=1)
)


def _refused(qmodel, variables, inputs):
    raise ExportError("layer 'Dense_0': no form for 7 axes")


def _failed(qmodel, variables, inputs):
    raise KeyError("Dense_0")


def _off_by_a_step(qmodel, variables, inputs):
    return apply(qmodel, variables, inputs) + 2.0**-7


@pytest.mark.parametrize(
    ("way", "outcome", "told"),
    [
        (apply, "equal", ""),
        (_off_by_a_step, "differs", "apply, msgpack | integer"),
        (_refused, "refused", "ExportError: layer _ no form for _ axes"),
        (_failed, "failed", "KeyError: _"),
    ],
)
def test_what_a_way_does_is_the_outcome(monkeypatch, way, outcome, told):
    monkeypatch.setitem(EVALUATIONS, "integer", way)
    verdict = judge(SMALL, ("integer", "msgpack"))
    assert verdict.outcome == outcome
    assert told in (verdict.sides, *verdict.refused.values(), *verdict.failed.values())


def test_a_model_that_cannot_be_made_is_refused_as_a_whole():
    verdict = judge(SMALL.configured({"platform": "saturn"}), ("integer",))
    assert (verdict.outcome, *verdict.refused) == ("refused", MAKING)


@pytest.mark.parametrize(("size", "outcome"), [(1.0, "failed"), (1e9, "equal")])
def test_gradients_of_usual_models_have_to_be_finite(monkeypatch, size, outcome):
    monkeypatch.setitem(GRADIENTS, "slopes", lambda qmodel, variables, inputs: [np.full(3, np.inf, np.float32)])
    case = dataclasses.replace(SMALL, numbers=Numbers(seed=1, inputs=size))
    assert judge(case, ("slopes",)).outcome == outcome

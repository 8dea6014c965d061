"""What is drawn follows from seed and index, and leaves no record out."""

import pytest

from linger_jax.config import Platform, load_config
from linger_jax.kinds import KINDS, MOVES
from tests.equality.drawn.calls_of_kinds import CALLS, NOT_CALLED, is_rare
from tests.equality.drawn.drawing import draw_case

SEEN = [draw_case(5, index) for index in range(60)]


def test_every_record_has_a_call_or_a_reason_why_not():
    records = {kind.name for kind in KINDS} | set(MOVES)
    assert set(CALLS) | set(NOT_CALLED) == records
    assert not set(CALLS) & set(NOT_CALLED)


@pytest.mark.parametrize("name", CALLS)
def test_every_record_is_drawn_where_it_is_asked_for(name):
    assert name in draw_case(1, 0, only=name).kinds


def test_a_model_follows_from_seed_and_index_alone():
    assert [draw_case(5, index) for index in range(9)] == SEEN[:9]
    assert len(set(SEEN)) == len(SEEN)


def test_every_chip_is_drawn_and_may_be_asked_for():
    assert {case.configuration["platform"] for case in SEEN} == {*Platform}
    assert draw_case(5, 0, platform=Platform.mars).configuration["platform"] == "mars"


def test_configurations_are_allowed_ones():
    for case in SEEN:
        load_config(case.configuration)


def test_what_stays_float_is_rare():
    rare = [any(is_rare(kind, Platform(case.configuration["platform"])) for kind in case.kinds) for case in SEEN]
    assert 0 < sum(rare) < len(SEEN) / 4


def test_models_end_in_what_nothing_reads():
    for case in SEEN:
        assert case.without_dead_steps().lines == case.lines

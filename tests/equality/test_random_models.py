"""Models drawn from every record: all ways of evaluating one give the same numbers.

``python -m tests.equality`` draws more of them, with all ways a model, and shrinks what goes wrong.
"""

import pytest

from tests.equality.examining import Asked, examine

MODELS, TOGETHER = 200, 25
ASKED = Asked(seed=0, quick=True, tries=0)
FIRST = [
    *range(0, MODELS // 2, TOGETHER),
    *(pytest.param(first, marks=pytest.mark.least_compiled) for first in range(MODELS // 2, MODELS, TOGETHER)),
]
"""Half of them are compiled as arithmetic, half with the least effort: what they compute is the same."""


@pytest.mark.slow
@pytest.mark.parametrize("first", FIRST)
def test_every_way_gives_the_same(first):
    found = [examine(ASKED, index) for index in range(first, first + TOGETHER)]
    wrong = [examined for examined in found if examined.verdict.outcome in ("differs", "failed")]
    told = [f"index {examined.index}: {examined.verdict.sides} {dict(examined.verdict.failed)}" for examined in wrong]
    assert not told, "\n".join([*told, "to shrink one: python -m tests.equality --seed 0 --quick --index N"])

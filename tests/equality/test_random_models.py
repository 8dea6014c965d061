"""Models drawn from every record: all ways of evaluating one give the same numbers.

``python -m tests.equality`` draws more of them, with all ways a model, and shrinks what goes wrong.
"""

import pytest

from tests.equality.examining import Asked, examine

MODELS = 200
ASKED = Asked(seed=0, quick=True, tries=0)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, MODELS, 25))
def test_every_way_gives_the_same(first):
    found = [examine(ASKED, index) for index in range(first, first + 25)]
    wrong = [examined for examined in found if examined.verdict.outcome in ("differs", "failed")]
    told = [f"index {examined.index}: {examined.verdict.sides} {dict(examined.verdict.failed)}" for examined in wrong]
    assert not told, "\n".join([*told, "to shrink one: python -m tests.equality --seed 0 --quick --index N"])

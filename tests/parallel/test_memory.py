"""The watch of ``python -m tests.parallel memory`` finds what grows."""

import pytest

from tests.parallel.memory import Watched

KEPT = []


@pytest.mark.parametrize("leaves", [lambda i: [[i]], lambda i: None], ids=["leaves a list", "leaves nothing"])
def test_rounds_that_leave_something_are_found(leaves):
    def once(number):
        left = leaves(number)
        if left is not None:
            KEPT.append(left)

    watched = Watched("rounds", 100, once)
    assert bool(watched.compare()) == (leaves(0) is not None)
    assert "100 rounds" in watched.measured()

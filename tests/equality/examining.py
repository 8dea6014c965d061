"""One index of a run: drawn, judged, and shrunk where it went wrong."""

from __future__ import annotations

import dataclasses

import jax

from linger_jax.config import Platform
from linger_jax.targets import packed_platforms
from tests.equality.counterexample import program, ways_at_fault
from tests.equality.drawn.case import Case
from tests.equality.drawn.drawing import draw_case
from tests.equality.judging import Verdict, judge
from tests.equality.shrinking import shrink
from tests.equality.ways import EVALUATIONS, GRADIENTS

_OFTEN_CLEARED = 25
"""Indices after which a process forgets what it compiled."""
_IN_TURN: tuple[tuple[str, ...], ...] = (
    *(("by_hand",), ("integer",), ("linger_file",), ("by_hand",), ("thinker_file",), ("jitted",), ("by_hand",)),
    *(("integer",), ("one_by_one",), ("by_hand",), ("linger_file",), ("vmapped",), ("by_hand",), ("thinker_file",)),
    *(("torch", "msgpack"), ("by_hand",), ("slopes", "remat_slopes")),
)
"""What a quick run has beside ``apply``."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a run is asked for.

    Attributes:
      seed: of all models.
      only: a kind or move that each model holds, or None.
      platform: the chip of each model, or None for any.
      quick: small models, and one way each, in turn: for the test suite.
      tries: evaluations that shrinking may take; 0 for none.
    """

    seed: int
    only: str | None = None
    platform: Platform | None = None
    quick: bool = False
    tries: int = 120


@dataclasses.dataclass(frozen=True)
class Examined:
    """What came of an index.

    Attributes:
      index: of the model.
      case: as drawn.
      verdict: of it.
      smallest: the shrunk case where something went wrong.
      shows: what is wrong with that.
    """

    index: int
    case: Case
    verdict: Verdict
    smallest: Case | None = None
    shows: Verdict | None = None

    @property
    def program(self) -> str:
        """Shows what went wrong."""
        return program(self.smallest or self.case, self.shows or self.verdict)


def ways_of(asked: Asked, index: int, case: Case) -> tuple[str, ...]:
    """The ways in which the model of an index is evaluated.

    All of them but those that compile each operation by itself, which take many seconds: these have a share of the
    models. In a quick run each model has one way, in turn.
    """
    packs = case.configuration["platform"] in packed_platforms()
    if asked.quick:
        in_turn = _IN_TURN[index % len(_IN_TURN)]
        return in_turn if packs else tuple(way.replace("thinker", "linger") for way in in_turn)
    shares = {"op_by_op": 40, "slopes_op_by_op": 100, "orbax": 10}
    every = [way for way in (*EVALUATIONS, *GRADIENTS) if index % shares.get(way, 1) == 0]
    return tuple(way for way in every if packs or way != "thinker_file")


def examine(asked: Asked, index: int) -> Examined:
    """Draws, judges and shrinks one model."""
    if index % _OFTEN_CLEARED == 0:
        jax.clear_caches()
    case = draw_case(asked.seed, index, asked.only, asked.platform, small=asked.quick)
    verdict = judge(case, ways_of(asked, index, case))
    if verdict.outcome in ("equal", "refused") or not asked.tries:
        return Examined(index, case, verdict)
    ways = ways_at_fault(verdict)
    smallest = shrink(case, lambda smaller: verdict.alike(judge(smaller, ways)), asked.tries)
    return Examined(index, case, verdict, smallest, judge(smallest, ways))

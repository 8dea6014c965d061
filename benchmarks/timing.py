"""Timing contenders against each other on a machine that is never quite idle.

Contenders take turns, so that a slow second hits all of them; a ratio is the median of the ratios inside one turn.
The clock is the wall's, or the processor time of all threads of this process, which other programs disturb less.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

Turns = dict[str, list[float]]
"""Seconds of each turn by contender; turn i of every contender ran at about the same time."""


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def take_turns(
    contenders: Mapping[str, Callable[[], Any]], *, repeat: int, warm_up: int = 2, clock: str = "wall"
) -> Turns:
    """Runs every contender ``repeat`` times, one after the other; a contender returns arrays, which are waited for."""
    now = CLOCKS[clock]
    for run in contenders.values():
        for _ in range(warm_up):
            jax.block_until_ready(run())
    turns: Turns = {name: [] for name in contenders}
    names = list(contenders)
    order = random.Random(0)
    for _ in range(repeat):
        # A contender disturbs its successor (memory it gave back, caches it filled): nobody has a fixed one.
        order.shuffle(names)
        for name in names:
            start = now()
            jax.block_until_ready(contenders[name]())
            turns[name].append(now() - start)
    return turns


def median_ms(turns: Turns, name: str) -> float:
    """Median time of one contender in milliseconds."""
    return 1e3 * statistics.median(turns[name])


def median_ratio(turns: Turns, name: str, base: str) -> float:
    """Median over turns of the contender's time divided by the base's."""
    return statistics.median(a / b for a, b in zip(turns[name], turns[base], strict=True))

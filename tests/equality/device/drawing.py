"""Models as people bring them to a chip: drawn as in ``tests/equality/drawn`` in the widths that devices have."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from linger_jax.targets import Platform
from tests.equality.drawn.case import Case
from tests.equality.drawn.drawing import draw_case

SAMPLES = 3
"""Inputs that a package runs; the file is that of the first."""
_WIDTHS = ("weight_bits", "activate_bits", "bias_bits", "input_bits", "output_bits")
_USUAL = 0.9
"""Share of the models in the widths, and in the rounding, that devices compute in."""


def draw_for_device(seed: int, index: int, only: str | None, chip: Platform) -> Case:
    """The model of an index: calibrated, not trained, with the arithmetic of the chip; two of three are small."""
    case = draw_case(seed, index, only, chip, small=index % 3 != 0)
    draw = random.Random(f"{seed}.{index}.device")
    config = case.configuration
    config.pop("compat", None)
    dropped = {*(_WIDTHS if draw.random() < _USUAL else ()), *(("round_mode",) if draw.random() < _USUAL else ())}
    return dataclasses.replace(
        case.configured({name: _without(value, dropped) for name, value in config.items()}),
        numbers=dataclasses.replace(case.numbers, calibrated=True, steps=0),
        batch=SAMPLES,
    )


def _without(value: Any, dropped: set[str]) -> Any:
    """A section of the configuration, or a part of it, without some of its keys."""
    if not isinstance(value, dict):
        return value
    return {name: _without(inner, dropped) for name, inner in value.items() if name not in dropped}

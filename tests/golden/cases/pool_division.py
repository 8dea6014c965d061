"""Replays golden files of the integer division of average pooling (docs/specification/layers.md section 9.1)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from linger_jax.config import Platform, RoundMode
from linger_jax.numerics.pooling.pool_division import divide
from tests.golden import compare

Arrays = Mapping[str, np.ndarray]

_LENGTH = 256
"""Window sums are padded to a multiple of this, so that one compiled program serves many files."""


def replay(case: Arrays, meta: Mapping[str, Any]) -> list[str]:
    """Mismatches of one ``pool_division`` file; empty when it passes.

    A file with ``in.divisor`` holds bare divisions (every divisor counts as part of one tensor, scales 1); one with
    ``divisor`` in its description holds a division with re-scaling.
    """
    total = case["in.dividend"].astype(np.int32).reshape(-1)
    divisor = case["in.divisor"] if "in.divisor" in case else np.asarray(meta["divisor"])
    divisor = np.broadcast_to(divisor, case["in.dividend"].shape).reshape(-1)
    short = -total.size % _LENGTH
    quotient = _divide(
        tuple(int(d) for d in np.pad(divisor, (0, short), mode="edge")),
        Platform(meta["platform"]),
        RoundMode(meta.get("round_mode") or meta["config"]["quant_info"]["round_mode"]),
        np.pad(total, (0, short)),
        np.float32(meta.get("input_scale", 1.0)),
        np.float32(meta.get("output_scale", 1.0)),
    )
    got = np.asarray(quotient)[: total.size].reshape(case["out.q"].shape)
    return compare.same_bits("out.q", got.astype(case["out.q"].dtype), case["out.q"])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _divide(
    divisors: tuple[int, ...],
    platform: Platform,
    round_mode: RoundMode,
    total: jax.Array,
    scale_in: jax.Array,
    scale_out: jax.Array,
) -> jax.Array:
    return divide(total, np.array(divisors), scale_in, scale_out, platform, round_mode)

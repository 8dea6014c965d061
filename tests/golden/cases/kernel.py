"""Replays golden files of the integer kernels; all bits must agree.

Source: docs/specification/chip_kernels.md, docs/specification/layers.md section 6.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.config import Platform
from linger_jax.numerics import chip_kernels, int64
from tests.golden import compare

Arrays = Mapping[str, np.ndarray]

_REQUANTIZED = {"sigmoid_requant": chip_kernels.sigmoid, "tanh_requant": chip_kernels.tanh}
_RAW: Mapping[str, Callable[[jax.Array, Platform], jax.Array]] = {
    "sigmoid": chip_kernels.raw_sigmoid,
    "tanh": chip_kernels.raw_tanh,
    "gelu": chip_kernels.gelu,
    "swish": chip_kernels.swish,
    "softmax": chip_kernels.softmax,
}


def replay(case: Arrays, meta: Mapping[str, Any]) -> list[str]:
    """Mismatches of one ``kernel`` file; empty when it passes."""
    x, platform = case["in.x"], Platform(meta["platform"])
    if meta["op"] in _REQUANTIZED:
        wrong = []
        for key in sorted(k for k in case if k.startswith("out.q")):
            got = np.asarray(_requantized(meta["op"], platform, int(key.removeprefix("out.q")), x))
            wrong += compare.same_bits(key, got.astype(case[key].dtype), case[key])
        return wrong
    with int64.region():
        got = np.asarray(_raw(meta["op"], platform, x))
    return compare.same_bits("out.y", got.astype(case["out.y"].dtype), case["out.y"])


def replay_normalization(case: Arrays) -> list[str]:
    """Mismatches of one ``layernorm_kernel`` file; empty when it passes."""
    with int64.region():
        got = np.asarray(_normalized(case["in.numerator"], case["in.denominator"]))
    return compare.same_bits("out.y_q15", got, case["out.y_q15"])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _requantized(op: str, platform: Platform, fraction_bits: int, x: jax.Array) -> jax.Array:
    return _REQUANTIZED[op](x, platform, fraction_bits)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _raw(op: str, platform: Platform, x: jax.Array) -> jax.Array:
    return _RAW[op](x, platform)


@jax.jit
def _normalized(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    return chip_kernels.normalized(jnp.asarray(numerator), denominator)

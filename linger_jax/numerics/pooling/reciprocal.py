"""The chips' fixed-point reciprocals of average pooling divisors, computed on the host.

Each follows its platform's algorithm step by step in IEEE doubles and Python integers (docs/specification/layers.md
section 9.1): a 5-bit seed, then three Newton steps in Q29 / Q30. The last bit decides ties, so none may be replaced by
exact division.
"""

from __future__ import annotations

import functools
import math


@functools.cache
def half_open(divisor: int) -> float:
    """Factor of venus, found for the divisor as a fraction in [1/2, 1): q = R(factor * n).

    Args:
      divisor: 1..2^30.

    Returns:
      r * 2^(L-31), an exact double.
    """
    left = 31 - math.ceil(math.log2(divisor + 0.5))
    fraction = divisor * 2.0 ** (left - 31)
    r = _round(2.0**29 / max(math.floor(32 * fraction) / 32, 1e-12)) / 2.0**29
    return _newton_in_doubles(fraction, r) * 2.0 ** (left - 31)


@functools.cache
def closed(divisor: int) -> float:
    """Factor of arcs, found for the divisor as a fraction in (1/2, 1]: q = R(factor * n).

    Args:
      divisor: 1..2^30.

    Returns:
      r * 2^(L-31), an exact double.
    """
    left = 31 - math.ceil(math.log2(max(divisor, 1)))
    fraction = divisor * 2.0**left / 2.0**31
    r = _round(2.0**29 / max(math.floor(32 * fraction) / 32, 1 / 32)) / 2.0**29
    return _newton_in_doubles(fraction, r) * 2.0 ** (left - 31)


@functools.cache
def in_integers(divisor: int) -> tuple[int, int]:
    """Reciprocal of venusA and mars: w = (r * n) >> shift, q = floor(w / 2 + 1/2).

    Args:
      divisor: 1..2^30.

    Returns:
      r: integer below 2^31.
      shift: at least 29.
    """
    left = 30 - (divisor.bit_length() - 1)
    scaled = divisor << left
    r = _round(2.0**29 / max(math.floor(32 * scaled / 2.0**31) / 32, 1 / 32))
    for _ in range(3):
        a = int(2.0**61 - float(scaled) * float(r)) >> 29
        b = _round(a / 2)
        p = int(float(r) * float(b)) >> 29
        r = _round(p / 2)
    return r, 29 + (31 - left) - 1


def _newton_in_doubles(fraction: float, r: float) -> float:
    for _ in range(3):
        t = _round((2 - r * fraction) * 2.0**30) / 2.0**30
        r = _round(r * t * 2.0**29) / 2.0**29
    return r


def _round(v: float) -> int:
    return math.floor(v + 0.5)

"""The kernels as docs/specification/chip_kernels.md and docs/specification/layers.md section 6 write them, in Python
integers of any size.

Arrays have dtype object and hold Python integers, so nothing can overflow or round.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np

from linger_jax.config import Platform

OWNER = {Platform.venus: "venus", Platform.arcs: "arcs", Platform.mars: "arcs", Platform.venusA: "venusA"}


def table(name: str) -> dict[str, Any]:
    text = resources.files("linger_jax.numerics").joinpath(f"tables/{name}.json").read_text("utf-8")
    return json.loads(text)


def exact(x: Any) -> np.ndarray:
    return np.asarray(x).astype(object)


def rs(v: Any, s: Any) -> Any:
    """Round-shift half up of an object array; s an integer or an array of integers."""
    v, s = exact(v), exact(s)
    if s.ndim == 0 and 1 <= s < 64:
        h = v >> (s - 1)
        return (h >> 1) + (h & 1)
    v, s = np.broadcast_arrays(v, s)
    out = [
        0 if b >= 64 else a << -b if b <= 0 else ((a >> (b - 1)) >> 1) + ((a >> (b - 1)) & 1) for a, b in pairs(v, s)
    ]
    return np.array(out, object).reshape(v.shape)


def pairs(v: np.ndarray, s: np.ndarray) -> Any:
    return zip(v.reshape(-1), s.reshape(-1), strict=True)


def clamp(v: Any, low: int, high: int) -> Any:
    return np.minimum(np.maximum(v, low), high)


def sat(v: Any, bits: int) -> Any:
    return clamp(v, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def segment(a: np.ndarray, t: dict[str, Any]) -> np.ndarray:
    """Smallest j with a <= bands[j + 1]; 16 beyond the last."""
    return np.searchsorted(np.array(t["bands"][1:], np.int64), a.astype(np.int64), side="left")


def entry(t: dict[str, Any], key: str, j: np.ndarray) -> np.ndarray:
    return np.array([*t[key], 0], object)[j]


def sigmoid_raw(x: np.ndarray, platform: Platform) -> np.ndarray:
    t = table(f"sigmoid_{OWNER[platform]}")
    x = exact(x)
    a = abs(x)
    if platform is Platform.venusA:
        a = np.where(x == -(2**31), 2**31 - 1, a)
    j = segment(a, t)
    m, b = entry(t, "slopes", j), np.where(x >= 0, entry(t, "bias_nonneg", j), entry(t, "bias_neg", j))
    if platform is Platform.venus:
        return ((m * x) >> entry(t, "shift", j)) + b
    if platform is Platform.venusA:
        return m * x + (b << 30)
    return ((m * x) >> 27) + b


def tanh_raw(x: np.ndarray, platform: Platform) -> np.ndarray:
    t = table(f"tanh_{OWNER[platform]}")
    x = exact(x)
    s, a = np.where(x < 0, -1, 1).astype(object), abs(x)
    a = np.where(x == -(2**15), 2**15 - 1, a) if platform is Platform.venus else np.where(x == -(2**31), 2**31 - 1, a)
    j = segment(a, t)
    m, b = entry(t, "slopes", j), entry(t, "bias", j)
    if platform is Platform.venus:
        return ((s * m * a) >> entry(t, "shift", j)) + s * b
    if platform is Platform.venusA:
        return s * (m * a + (b << 30))
    return ((s * m * a) >> 27) + s * b


def requantized(raw: np.ndarray, platform: Platform, fraction_bits: int) -> np.ndarray:
    if platform is Platform.venus:
        return raw
    r = 58 if platform is Platform.venusA else 31
    return clamp(rs(raw, r - fraction_bits), -(2**fraction_bits), 2**fraction_bits - 1)


def gated(x: np.ndarray, kernel: str) -> np.ndarray:
    t = table(f"{kernel}_venusA")
    x = exact(x)
    j = segment(np.where(x == -(2**31), 2**31 - 1, abs(x)), t)
    m = np.where(x >= 0, entry(t, "slope_nonneg", j), entry(t, "slope_neg", j))
    return sat(rs(m * x + (entry(t, "bias", j) << 30), 27), 32)


def softmax(x: np.ndarray, platform: Platform) -> np.ndarray:
    t = table("softmax")
    x = exact(x)
    largest = x.max(axis=-1, keepdims=True)
    if platform is Platform.venusA:
        largest = np.where(largest == -(2**31), -(2**31) + 1, largest)
    y = powers(rs(sat(x - largest, 32) * t["log2e_q29"], 31), platform)
    total = clamp(y.sum(axis=-1, keepdims=True), 0, 2**31 - 1)
    if platform is Platform.venus:
        return sat(rs(newton_reciprocals(total) * y, t["venus_recip_final_shift"]), 32)
    return rs(long_divisions(total) * y, t["arcs_div_final_shift"])


def powers(exponents: np.ndarray, platform: Platform) -> np.ndarray:
    """Steps 4 to 6: y of X in Q23."""
    p = table("softmax")["poly_q23"]
    e, f = (exponents >> 23) + 1, exponents % 2**23 - 2**23
    y = np.full(f.shape, p[0], object)
    for j in (1, 2, 3):
        y = rs(y * f, 23) + p[j]
    if platform is Platform.venusA:
        return np.where(30 - e > 63, 0, rs(y * f * 2**7 + p[4] * 2**30, 30 - e))
    y = rs(y * f, 23) + p[4]
    return np.where(e == 1, y << 1, y >> np.maximum(-e, 0))


def long_divisions(total: np.ndarray) -> np.ndarray:
    c, a = np.zeros(total.shape, object), np.full(total.shape, 2**23, object)
    for _ in range(30):
        fits = a >= total
        c, a = np.where(fits, c + 1, c), np.where(fits, a - total, a)
        assert (2 * a < 2**32).all()
        c, a = 2 * c, 2 * a
    return c


def newton_reciprocals(total: np.ndarray) -> np.ndarray:
    return np.array([newton_reciprocal(s) for s in total.reshape(-1)], object).reshape(total.shape)


def newton_reciprocal(s: int) -> int:
    n = 31 - s.bit_length() - 8
    m = s << n if n >= 0 else s >> -n
    assert 2**22 <= m < 2**23
    r = 0xBB5000 - m
    for _ in range(2):
        e = 2 * (0x400000 - int(rs(m * r, 23)))
        r = r + int(rs(r * e, 23))
    n += 1
    return int(sat(r << n, 32)) if n >= 0 else r >> -n


def inverse_square_root(d: int) -> tuple[int, int]:
    if d == 0:
        return 32767, 0
    k = (d.bit_length() - 1) // 2
    m = d >> (2 * k - 8) if k >= 4 else d << (8 - 2 * k)
    return table("rsqrt_q15")["table"][m - 256], k


def normalized(numerator: int, d: int) -> int:
    r, k = inverse_square_root(d)
    product = numerator * r
    if k >= 1:
        v = product >> (k - 1)
        product = (v >> 1) + (v & 1)
    return int(sat(product, 32))

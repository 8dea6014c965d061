"""LSTM and GRU as docs/specification/recurrent.md sections 3 and 4 write them, in Python integers of any size.

Arrays have dtype object and hold Python integers, so nothing can overflow or round. q is a dictionary of the exponents
``input``, ``hidden``, ``weight_ih``, ``weight_hh``; operands are integers already.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linger_jax.config import Platform
from tests.numerics.chip_kernels.integer_model import exact, requantized, rs, sat, sigmoid_raw, tanh_raw


def rescaled(v: Any, a: int, d: int) -> Any:
    """R(v, a, d)."""
    return v * 2 ** (d - a) if d >= a else rs(v, a - d)


def kernel(raw: Any, v: np.ndarray, platform: Platform) -> np.ndarray:
    return requantized(raw(v, platform), platform, 15 if platform is Platform.venus else 31)


def sigmoid(v: np.ndarray, platform: Platform, *, saturates: bool = True) -> np.ndarray:
    return kernel(sigmoid_raw, sat(v, 16) if platform is Platform.venus and saturates else v, platform)


def tanh(v: np.ndarray, platform: Platform, *, saturates: bool = True) -> np.ndarray:
    return kernel(tanh_raw, sat(v, 16) if platform is Platform.venus and saturates else v, platform)


def products(x: Any, h: Any, w: dict[str, Any], q: dict[str, int], to: int) -> tuple[np.ndarray, np.ndarray]:
    gi = exact(x).dot(w["ih"]) + w["bias_ih"]
    gh = exact(h).dot(w["hh"]) + w["bias_hh"]
    gi = sat(rescaled(gi, q["input"] + q["weight_ih"], to), 32)
    return gi, sat(rescaled(gh, q["hidden"] + q["weight_hh"], to), 32)


def lstm(platform: Platform, x: Any, h: Any, c: Any, w: dict[str, Any], q: dict[str, int], bits: int) -> Any:
    """New hidden state and cell."""
    venus = platform is Platform.venus
    gi, gh = products(x, h, w, q, 11 if venus else 27)
    i, f, g, o = np.split(sat(gi + gh, 32), 4, axis=-1)
    i, f, o = (sigmoid(v, platform) for v in (i, f, o))
    g = tanh(g, platform)
    if venus:
        s = f * exact(c) + i * g
        c = sat(rs(s, 15), 32)
        t = tanh(sat(rs(s, 19), 32), platform)
    else:
        i, f, g, o = (rs(v, 16) for v in (i, f, g, o))
        c27 = rs(sat(exact(c) * f, 32) + sat(i * g, 32), 3)
        c = rs(c27, 12)
        t = rs(tanh(sat(c27, 32), platform), 16)
    return sat(rescaled(o * t, 30, q["hidden"]), bits), c


def gru(platform: Platform, x: Any, h: Any, w: dict[str, Any], q: dict[str, int], bits: int, form: str) -> Any:
    """New hidden state; form ``chip`` or ``reference``."""
    h, units = exact(h), np.asarray(h).shape[-1]
    reference = form == "reference"
    if platform is Platform.venus:
        gi, gh = products(x, h, w, q, 11)
        (ir, iz, i_n), (hr, hz, h_n) = np.split(gi, 3, axis=-1), np.split(gh, 3, axis=-1)
        r = sigmoid(sat(ir + hr, 32), platform, saturates=not reference)
        z = sigmoid(sat(iz + hz, 32), platform, saturates=not reference)
        n = tanh(sat(i_n + rs(r * h_n, 15), 32), platform, saturates=not reference)
        n = rescaled(n, 15, q["hidden"])
        if reference:
            return sat(h + rs(z * sat(n - h, 16), 15), bits)
        return sat(n + rs(z * sat(h - n, 16), 15), bits)
    common = max(q["input"] + q["weight_ih"], q["hidden"] + q["weight_hh"]) if platform is Platform.venusA else 27
    gi, gh = products(x, h, w, q, common)
    (ir, iz, i_n), (hr, hz, h_n) = np.split(gi, 3, axis=-1), np.split(gh, 3, axis=-1)
    r = sigmoid(sat(rescaled(ir + hr, common, 27), 32), platform)
    z = sigmoid(sat(rescaled(iz + hz, common, 27), 32), platform)
    if platform is not Platform.venusA and reference:
        u = rs(r * h, 31)
        added = u.dot(w["hh"][:, 2 * units :]) + w["bias_hh"][2 * units :]
        added = sat(rescaled(added, q["hidden"] + q["weight_hh"], 27), 32)
    else:
        added = rs(r * h_n, 31)
    n = rs(tanh(sat(rescaled(i_n + added, common, 27), 32), platform), 31 - q["hidden"])
    return sat(n + rs(z * (h - n), 31), bits)

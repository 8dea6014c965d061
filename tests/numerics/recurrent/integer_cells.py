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


def executor_gru(platform: Platform, x: Any, h: Any, w: dict[str, Any], q: dict[str, int]) -> Any:
    """New hidden state of the executor's cell (docs/specification/executor.md section 5)."""
    h, units = exact(h), np.asarray(h).shape[-1]
    a = sat(exact(x).dot(w["ih"]) + w["bias_ih"], 32)
    b = sat(h.dot(w["hh"]) + w["bias_hh"], 32)
    a = sat(rescaled(a, q["input"] + q["weight_ih"], 27), 32)
    b = sat(rescaled(b, q["hidden"] + q["weight_hh"], 27), 32)
    if platform is Platform.venusA:
        b[..., : 2 * units] = 0
    (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(a, 3, axis=-1), np.split(b, 3, axis=-1)

    def gate(raw: Any, v: np.ndarray) -> np.ndarray:
        return requantized(raw(sat(v, 32), platform), platform, 7)

    r, z = gate(sigmoid_raw, a_r + b_r), gate(sigmoid_raw, a_z + b_z)
    n = gate(tanh_raw, a_n + sat(rs(r * b_n, 7), 32))
    return sat(rescaled(z * rs(h, 1) + (128 - z) * n, 14, q["hidden"]), 8)


def primitive_gru(platform: Platform, x: Any, h: Any, w: dict[str, Any], q: dict[str, int]) -> Any:
    """New hidden state of the usual cell in operators of 8 bits."""
    h, units = exact(h), np.asarray(h).shape[-1]

    def product(v: Any, side: str, of: str) -> Any:
        total = exact(v).dot(w[side]) + w[f"bias_{side}"]
        parts = ((slice(0, 2 * units), 4), (slice(2 * units, None), 5))
        scaled = [sat(rescaled(total[..., part], q[of] + q[f"weight_{side}"], to), 8) for part, to in parts]
        return np.split(np.concatenate(scaled, -1), 3, axis=-1)

    (a_r, a_z, a_n), (b_r, b_z, b_n) = product(x, "ih", "input"), product(h, "hh", "hidden")
    r, z = (requantized(sigmoid_raw(sat(v, 8) * 2**23, platform), platform, 7) for v in (a_r + b_r, a_z + b_z))
    n = sat(a_n + sat(rs(r * b_n, 7), 8), 8) * 2**22
    n = requantized(tanh_raw(n, platform), platform, 7)
    added = sat(rescaled(np.minimum(128 - z, 127) * n, 14, q["hidden"]), 8)
    return sat(sat(rs(z * h, 7), 8) + added, 8)

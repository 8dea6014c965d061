"""Constants that their own quantizer cuts (docs/codes.md O19): kept, with a warning."""

from __future__ import annotations

import numpy as np

from linger_jax.config import RoundMode
from linger_jax.numerics import LARGEST_EXPONENT
from linger_jax.plan.graph import Atom, Constant
from linger_jax.quantizers import QuantizerSpec


def clipped_constant(atom: Atom, spec: QuantizerSpec) -> str | None:
    """What becomes of a constant scalar operand that its quantizer clips; None for every other operand.

    The scale follows from the magnitude alone and is rounded to a power of two; a magnitude of 2^n lands one step above
    the largest integer, one a little larger further above.
    """
    if (
        not isinstance(atom, Constant)
        or atom.shape != ()
        or not isinstance(atom.value, (int, float, np.generic, np.ndarray))
    ):
        return None
    number = np.float32(atom.value)
    if number == 0 or not np.isfinite(number):
        return None
    # Rounded to float32 at each step, so that ties are those of the scale rule (docs/specification/quantizers.md
    # section 3).
    exponent_before = np.float32(spec.bits - 1) - np.float32(np.log2(np.abs(np.float64(number))))
    exponent = np.clip(np.rint(exponent_before), 0, LARGEST_EXPONENT)
    steps = float(number) * 2.0**exponent
    low, high = spec.limits
    rounded = {RoundMode.floor_add: np.floor(steps + 0.5), RoundMode.floor: np.floor(steps)}.get(
        spec.rounding, np.rint(steps)
    )
    if low <= rounded <= high:
        return None
    used = min(max(rounded, low), high) / 2.0**exponent
    return (
        f"the constant {number:.9g} counts as {used:.9g}: in {spec.bits} bits at scale 2^{int(exponent)} it is clipped"
    )

"""What a run finds out about its quantizers: decided inside the compiled function, told outside of it."""

from __future__ import annotations

import dataclasses
import enum
import warnings
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.compat import is_tracer
from linger_jax.errors import CalibrationError, LingerError, LingerWarning, StateError
from linger_jax.typing import Path


class Kind(enum.Enum):
    """What is wrong with the quantizers of a finding."""

    unseen = "unseen"
    non_finite = "non_finite"
    calibrated = "calibrated"
    nan_in_integers = "nan_in_integers"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Finding:
    """Quantizers, and for which of them something holds."""

    kind: Kind = dataclasses.field(metadata={"static": True})
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    flags: jax.Array
    """bool, one for each name."""

    def names_found(self) -> list[str]:
        """The quantizers for which it holds; none while the flags are being traced by the user's own jit."""
        if is_tracer(self.flags):
            return []
        return [name for name, flag in zip(self.names, np.asarray(self.flags).tolist(), strict=True) if flag]


def finding(kind: Kind, flags: Mapping[Path, jax.Array]) -> Finding:
    """A finding from flags by quantizer path; a flag may be an array, for quantizers stacked by a scan."""
    names = tuple(".".join(path) for path in flags)
    values = [jnp.any(flag) for flag in flags.values()]
    return Finding(kind, names, jnp.stack(values) if values else jnp.zeros((0,), jnp.bool_))


def refuse(findings: tuple[Finding, ...], *, joins: bool) -> None:
    """Refuses a calibration, or an evaluation in integers, that the findings speak against.

    Args:
      findings: of one pass.
      joins: whether this pass follows others of the same calibration, so that calibrated quantizers are expected.

    Raises:
      CalibrationError: the data holds NaN or infinity.
      StateError: quantizers were calibrated or trained before.
      LingerError: an evaluation in integers met NaN.
    """
    found = {f.kind: f.names_found() for f in findings}
    if found.get(Kind.non_finite):
        raise CalibrationError(
            f"calibration data contains NaN or infinity at {', '.join(found[Kind.non_finite])} (there, or in what the "
            "float pass computes of it: numbers beyond 3.4e38 are infinite). Leave such samples out, or scale them"
        )
    if found.get(Kind.nan_in_integers):
        raise LingerError(
            f"mode='integer': NaN at {', '.join(found[Kind.nan_in_integers])}; integers hold none. Leave such samples "
            "out, or evaluate without mode='integer', which gives NaN for them alone"
        )
    if found.get(Kind.calibrated) and not joins:
        raise StateError(
            f"has been calibrated already (or trained): {', '.join(found[Kind.calibrated])}. A second calibration "
            "would lose that; start from qmodel.adopt, or give calibrate all batches at once"
        )


def warn_of_unseen(findings: tuple[Finding, ...]) -> bool:
    """Warns of quantizers that are evaluated without ever having seen data; returns whether it did.

    Source: docs/decisions.md D6.
    """
    names = [name for f in findings if f.kind is Kind.unseen for name in f.names_found()]
    if names:
        warnings.warn(
            f"evaluating quantizers that never saw data (their scale is 1): {', '.join(names)}. "
            "Calibrate or train first.",
            LingerWarning,
            stacklevel=5,
        )
    return bool(names)

"""All that is known of one chip, as one record."""

from __future__ import annotations

import dataclasses
import enum

from linger_jax.targets.device import Device
from linger_jax.targets.kernels import ChipKernels


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowLimits:
    """Windows that can be trained for a chip; each element of a tuple is checked.

    Source: docs/specification/config.md section 2.3. Read by ``plan/decide/window_limits.py``. A packed file has
    stricter ones: ``Device``.
    """

    kernel: tuple[int, int] | None
    """Least and largest extent; None: not checked."""
    strides: tuple[int, ...]
    """The ones allowed."""
    padding: tuple[int, int] | None
    """Least and largest padding of a side; None: not checked."""


class PoolDivision(enum.Enum):
    """How average pooling divides by what is no power of two (docs/specification/layers.md section 9.1)."""

    half_open_reciprocal = enum.auto()
    """A product with a reciprocal in doubles, found for the divisor as a fraction in [1/2, 1): venus' algorithm."""
    closed_reciprocal = enum.auto()
    """A product with a reciprocal in doubles, found for the divisor as a fraction in (1/2, 1]: arcs' algorithm."""
    integer_reciprocal = enum.auto()
    """A product with an integer reciprocal, and two shifts: venusA's algorithm."""
    float_division = enum.auto()
    """A division in float32, rounded half up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One chip. Every field is required: a new chip cannot leave an answer to a default."""

    windows: WindowLimits
    """What training checks of kernels, strides and paddings. Read by ``plan/decide/window_limits.py``."""
    pool_division: PoolDivision
    """Read by ``numerics/pooling/pool_division.py``."""
    fixes_scale_of_sigmoid: bool
    """Results of sigmoid and tanh lie at scale 2^(bits - 1); otherwise at one that follows the data
    (docs/specification/ops.md section 5). Read by ``kinds/operator_kinds.py``."""
    kernels: ChipKernels | None
    """None: the chip has no integer kernels, and functions and recurrent layers stay float (docs/decisions.md D8). Read
    by ``numerics``, ``kinds``, ``plan/decide``, ``interpret``, the runner of files and ``api/device/supported.py``."""
    device: Device | None
    """None: the vendor's packer does not know the chip. Read by ``export`` and the command line."""

    @property
    def ties_concat_scales(self) -> bool:
        """Whether layers whose outputs meet in one concatenation share a scale by default.

        They do where the executor needs it (docs/decisions.md D22). Read by ``config/quant_config.py``.
        """
        return self.device is not None and self.device.executor.concatenation_only_shifts_left

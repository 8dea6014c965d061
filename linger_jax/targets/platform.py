"""The chips by name, and the record of each."""

from __future__ import annotations

import enum
from typing import assert_never

from linger_jax.errors import ExportError
from linger_jax.targets.arcs import ARCS
from linger_jax.targets.device import Device
from linger_jax.targets.jupiter import JUPITER
from linger_jax.targets.mars import MARS
from linger_jax.targets.target import Target
from linger_jax.targets.venus import VENUS
from linger_jax.targets.venusA import VENUS_A


class Platform(enum.StrEnum):
    """Target chip family."""

    venus = "venus"
    mars = "mars"
    arcs = "arcs"
    venusA = "venusA"
    jupiter = "jupiter"


DEFAULT_PLATFORM = Platform.venusA
"""The chip of a configuration that names none (docs/specification/config.md section 1)."""
PLATFORM_OF_UNMARKED_FILES = Platform.venus
"""The chip of a file that names none, as the packer takes it (docs/specification/onnx_export.md section 1)."""


def target_of(platform: Platform) -> Target:
    """What is known of a chip."""
    match platform:
        case Platform.venus:
            return VENUS
        case Platform.mars:
            return MARS
        case Platform.arcs:
            return ARCS
        case Platform.venusA:
            return VENUS_A
        case Platform.jupiter:
            return JUPITER
        case _:
            assert_never(platform)


def packed_platforms() -> tuple[Platform, ...]:
    """The chips that the vendor's packer knows."""
    return tuple(platform for platform in Platform if target_of(platform).device is not None)


def device_of(platform: Platform) -> Device:
    """What packer and executor make of a file for a chip.

    Raises:
      ExportError: the packer does not know the chip.
    """
    device = target_of(platform).device
    if device is None:
        allowed = ", ".join(packed_platforms())
        raise ExportError(f"the packer does not know platform {platform.value!r}; allowed: {allowed}")
    return device

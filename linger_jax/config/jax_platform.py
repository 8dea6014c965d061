"""Checks whether the platform that a configuration asks for is there (docs/decisions.md D13)."""

from __future__ import annotations

import warnings

import jax

from linger_jax.config.quant_config import QuantConfig
from linger_jax.errors import LingerWarning


def check_device(config: QuantConfig) -> None:
    """Warns if ``config.device`` names a platform that JAX does not have here, and names those it has.

    Call it once where a model is built. Nothing is moved: arrays stay where JAX puts them.
    """
    if config.device is None:
        return
    platform = config.device.partition(":")[0]
    try:
        jax.devices(platform)
    except RuntimeError:
        there = sorted({device.platform for device in jax.devices()} | {"cpu"})
        warnings.warn(
            f"device: the configuration asks for '{config.device}', JAX has {', '.join(there)} here. Arrays stay where "
            "JAX puts them; set device to one of these, or to null, to silence this",
            LingerWarning,
            stacklevel=3,
        )

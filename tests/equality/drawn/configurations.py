"""Draws configurations: every key that changes a number, at values that are allowed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from linger_jax.config import (
    ActivationType,
    Arithmetic,
    CalibrateExponent,
    Compat,
    GruForm,
    Lowering,
    Platform,
    QatMethod,
    QuantMethod,
    RoundMode,
)
from linger_jax.quantizers import calibrate_methods

_WEIGHTS = (*range(2, 17),)
_ACTIVATIONS = (4, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16, 20, 24, 32)
_BIASES = (8, 16, 32)
# Under compat chip ``ceil`` is refused. The chips' own rounding comes twice more.
_ROUND_MODES = (RoundMode.floor_add, RoundMode.floor_add, *(mode for mode in RoundMode if mode is not RoundMode.ceil))
_METHODS = tuple(method for method in QuantMethod if method is not QuantMethod.NATIVE)


def draw_config(draw: random.Random, platform: Platform, modules: Sequence[str]) -> dict[str, Any]:
    """A configuration for a chip; parts may name the modules.

    About half of all configurations differ from the defaults in the chip alone.
    """
    config: dict[str, Any] = {"platform": platform.value}
    if draw.random() < 0.4:
        return config
    info = _widths(draw)
    info["round_mode"] = draw.choice(_ROUND_MODES).value
    info["qat_method"] = draw.choice(tuple(QatMethod)).value
    for key in ("w_calibrate_name", "a_calibrate_name"):
        if draw.random() < 0.4:
            info[key] = draw.choice(_own_calibrations())
    if draw.random() < 0.3:
        info["calibrate_exponent"] = draw.choice(tuple(CalibrateExponent)).value
    if draw.random() < 0.1:
        info["activation_type"] = draw.choice(tuple(ActivationType)).value
    config["quant_info"] = info
    if draw.random() < 0.2:
        config["quant_method"] = draw.choice(_METHODS).value
    if draw.random() < 0.15:
        config["compat"] = Compat.reference.value
    if draw.random() < 0.1:
        config["lowering"] = Lowering.stock.value
    if draw.random() < 0.1:
        config["tie_concat_scales"] = draw.choice((True, False))
    if draw.random() < 0.2:
        keys = ("clamp_weight_value", "clamp_bias_value", "clamp_activation_value", "clamp_factor_value")
        config["clamp_info"] = {key: draw.choice((None, 0.5, 3.0, 100.0)) for key in keys if draw.random() < 0.5}
    for number, module in enumerate(modules):
        if draw.random() < 0.15:
            config[f"part{number}"] = {"name": [module], "quant_info": _part(draw)}
    if draw.random() < 0.5:
        info["arithmetic"] = draw.choice(tuple(Arithmetic)).value
    if draw.random() < 0.5:
        info["gru_form"] = draw.choice(tuple(GruForm)).value
    return config


def _own_calibrations() -> tuple[str, ...]:
    """The methods that linger_jax brings; what a test registered is left out."""
    return tuple(
        name for name, method in calibrate_methods().items() if str(method.__module__).startswith("linger_jax.")
    )


def widest(config: Mapping[str, Any]) -> int:
    """The largest width of activations and weights that a configuration asks for anywhere."""
    parts = [part["quant_info"] for name, part in config.items() if name.startswith("part")]
    infos = [config.get("quant_info", {}), *parts]
    keys = ("weight_bits", "activate_bits", "input_bits", "output_bits")
    return max((info[key] for info in infos for key in keys if key in info), default=8)


def _widths(draw: random.Random) -> dict[str, Any]:
    widths: dict[str, Any] = {}
    if draw.random() < 0.5:
        widths["weight_bits"] = draw.choice(_WEIGHTS)
    if draw.random() < 0.5:
        widths["activate_bits"] = draw.choice(_ACTIVATIONS)
    if draw.random() < 0.25:  # sums beyond 32 bits
        widths |= {"weight_bits": 16, "activate_bits": draw.choice((16, 16, 24, 32))}
    if draw.random() < 0.3:
        widths["bias_bits"] = draw.choice(_BIASES)
    return widths


def _part(draw: random.Random) -> dict[str, Any]:
    info = _widths(draw)
    for key in ("input_bits", "output_bits"):
        if draw.random() < 0.4:
            info[key] = draw.choice(_ACTIVATIONS)
    return info

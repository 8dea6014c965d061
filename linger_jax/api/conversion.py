"""``init`` and ``constrain``: from a Flax model and a configuration to a model with quantizers or clips."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, Literal

import flax.linen as nn

from linger_jax.api.fusion import FusedModel, require_unbound
from linger_jax.api.quantized_model import QuantizedModel
from linger_jax.config import Compat, ConfigSource, QuantConfig, check_device, load_config
from linger_jax.errors import LingerError, LingerWarning
from linger_jax.kinds import OPERATOR_NAMES, OPERATORS
from linger_jax.nearest_name import nearest_name
from linger_jax.plan import PlanSettings
from linger_jax.plan.fuse import NOTHING_FUSED
from linger_jax.quantizers import calibrate_method


def init(
    model: nn.Module | FusedModel,
    config: ConfigSource = None,
    *,
    disable_module: Iterable[type[nn.Module]] | type[nn.Module] = (),
    disable_submodel: Iterable[str] | str = (),
    disable_ops: Iterable[str] | str = (),
    strict: bool | Literal["device"] = False,
) -> QuantizedModel:
    """Prepares an unmodified Flax model for calibration and quantization-aware training.

    Args:
      model: a Linen module, unbound, or what ``linger_jax.trace_layers`` made of one.
      config: a YAML file, a mapping, a ``QuantConfig``, or None for the defaults.
      disable_module: module types that stay float.
      disable_submodel: dotted module names that stay float, with everything below them; ``"name*"`` means the same.
      disable_ops: operators that stay float wherever they are met: ``add``, ``mul``, ``matmul``, ``cat``, ``sigmoid``,
        ``tanh``, ``gelu``, ``swish``, ``softmax`` (``linger_jax.supported`` lists them).
      strict: an error, instead of a line in the plan, for everything that would run as float. ``"device"``: also for
        everything that the chip would refuse at export whatever the scales become, as soon as shapes are known: in
        ``init``, ``adopt`` and ``plan`` (docs/decisions.md D33).

    Returns:
      A model with ``init``, ``adopt``, ``apply`` and ``plan``; with ``open_quant: false`` exactly the float model.

    Raises:
      ConfigError: a configuration that cannot be used.
      LingerError: something else than a module, a module type, a name, a known operator or a known ``strict``.
    """
    if strict not in (False, True, "device"):
        raise LingerError(f"strict is {strict!r}; allowed: False, True, 'device'")
    return _convert(model, config, disable_module, disable_submodel, strict, "quantize", _operators(disable_ops))


def constrain(
    model: nn.Module | FusedModel,
    config: ConfigSource = None,
    *,
    disable_module: Iterable[type[nn.Module]] | type[nn.Module] = (),
    disable_submodel: Iterable[str] | str = (),
    strict: bool = False,
) -> QuantizedModel:
    """Prepares the float stage before quantization: weights, biases and outputs are clipped.

    Arguments as in ``init``; the result has no quantizer state, its variables are the float model's.

    Source: docs/specification/config.md section 5.
    """
    return _convert(model, config, disable_module, disable_submodel, strict, "constrain")


def _convert(
    model: nn.Module | FusedModel,
    config: ConfigSource,
    disable_module: Iterable[type[nn.Module]] | type[nn.Module],
    disable_submodel: Iterable[str] | str,
    strict: bool | Literal["device"],
    purpose: Literal["quantize", "constrain"],
    disable_ops: tuple[str, ...] = (),
) -> QuantizedModel:
    fusion = NOTHING_FUSED
    if isinstance(model, FusedModel):
        model, fusion = model.model, model.fusion
    require_unbound(model)
    loaded = load_config(config)
    check_device(loaded)
    _check_methods(loaded)
    if purpose == "constrain":
        loaded = loaded.for_constraining()
        _warn_of_no_clamps(loaded)
    settings = PlanSettings(
        config=loaded,
        purpose=purpose,
        disable_module=_types(disable_module),
        disable_submodel=_names(disable_submodel),
        disable_ops=disable_ops,
        strict=strict,
        fusion=fusion,
    )
    return QuantizedModel(model, settings)


def _check_methods(config: QuantConfig) -> None:
    """Refuses a calibration method that nothing is registered for; linger finds that out when it calibrates."""
    if config.compat is Compat.reference:
        return
    for info in (config.quant_info, *(part.quant_info for part in config.parts if part.quant_info is not None)):
        calibrate_method(info.w_calibrate_name)
        calibrate_method(info.a_calibrate_name)


def _warn_of_no_clamps(config: QuantConfig) -> None:
    sections = (config.clamp_info, *(part.clamp_info for part in config.parts if part.clamp_info is not None))
    if config.compat is Compat.chip and not any(value for section in sections for value in dict(section).values()):
        warnings.warn(
            "constrain: every key of clamp_info is switched off, so nothing is clipped. Leave the section out for "
            "linger's limits, or name your own",
            LingerWarning,
            stacklevel=4,
        )


def _types(given: Iterable[type[nn.Module]] | type[nn.Module]) -> tuple[type[nn.Module], ...]:
    types: tuple[Any, ...] = tuple(given) if isinstance(given, Iterable) and not isinstance(given, type) else (given,)
    for module_type in types:
        if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
            raise LingerError(f"disable_module takes flax.linen module types, got {module_type!r}")
    return types


def _names(given: Iterable[str] | str) -> tuple[str, ...]:
    names: tuple[Any, ...] = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for name in names:
        if not isinstance(name, str):
            raise LingerError(f"disable_submodel takes dotted module names, got {name!r}")
    return names


def _operators(given: Iterable[str] | str) -> tuple[str, ...]:
    names: tuple[Any, ...] = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for name in names:
        if name not in OPERATOR_NAMES:
            nearest = nearest_name(name, OPERATOR_NAMES) if isinstance(name, str) else None
            advice = f"did you mean {nearest!r}?" if nearest else f"known are: {', '.join(o.name for o in OPERATORS)}"
            raise LingerError(f"disable_ops: {name!r} is no operator; {advice}")
    return names

"""Quantizer specifications of layers and operators, from the configuration of the module they belong to."""

from __future__ import annotations

from linger_jax.config import ActivationType, CalibrateExponent, ClampInfo, LayerConfig, QuantConfig, RoundMode
from linger_jax.kinds import QuantizerRole
from linger_jax.plan.semantics import semantics
from linger_jax.plan.settings import PlanSettings
from linger_jax.quantizers import QuantizerKind, QuantizerSpec


def _spec(
    config: QuantConfig,
    module: LayerConfig,
    kind: QuantizerKind,
    bits: int,
    *,
    activation_type: ActivationType = ActivationType.none,
    clamp_value: float | None = None,
    clamp_factor: float | None = None,
    counted_bound: float | None = None,
) -> QuantizerSpec:
    info = module.quant_info
    activation = kind is QuantizerKind.activation
    return QuantizerSpec(
        kind=kind,
        bits=bits,
        round_mode=info.round_mode if activation else RoundMode.round,
        qat_method=config.quant_info.qat_method,
        quant_method=config.quant_method,
        activation_type=activation_type,
        clamp_value=None if clamp_value is None else float(clamp_value),
        clamp_factor=None if clamp_factor is None else float(clamp_factor),
        counted_bound=None if counted_bound is None else float(counted_bound),
        calibrate_name=info.a_calibrate_name if activation else info.w_calibrate_name,
        calibrate_exponent=info.calibrate_exponent
        if semantics(config.compat).chooses_exponents
        else CalibrateExponent.nearest,
        calibrate_percentile=info.calibrate_percentile,
        compat=config.compat,
    )


def layer_spec(
    settings: PlanSettings, module: LayerConfig, role: QuantizerRole, mark: ActivationType | None = None
) -> QuantizerSpec:
    """Specification of one of a layer's quantizers.

    Args:
      settings: what the user asked for.
      module: configuration of the layer.
      role: which quantizer.
      mark: activation behind the layer, where the model was traced (docs/specification/config.md section 2.1).

    Source: docs/specification/quantizers.md section 1.
    """
    info, clamp, config = module.quant_info, module.clamp_info, settings.config
    match role.acts_on:
        case "input":
            return _spec(config, module, QuantizerKind.activation, module.input_bits)
        case "inner":
            return _spec(config, module, QuantizerKind.activation, info.activate_bits)
        case "output":
            return _spec(
                config,
                module,
                QuantizerKind.activation,
                module.output_bits,
                activation_type=info.activation_type if mark is None else mark,
                clamp_value=clamp.clamp_activation_value,
                counted_bound=_counted_bound(settings, module),
            )
        case "weight":
            return _spec(
                config,
                module,
                QuantizerKind.weight,
                info.weight_bits,
                clamp_value=clamp.clamp_weight_value if role.configured else None,
                clamp_factor=clamp.clamp_factor_value if role.configured else role.factor,
            )
        case "bias":
            bound = clamp.clamp_bias_value if role.configured else None
            return _spec(config, module, QuantizerKind.bias, info.bias_bits, clamp_value=bound)


def _counted_bound(settings: PlanSettings, module: LayerConfig) -> float | None:
    """The bound of outputs beyond which calibration counts: the clamp, or linger's where none is named."""
    if not settings.semantics.tells_clamps:
        return None
    own = module.clamp_info.clamp_activation_value
    return own if own is not None or settings.config.names_clamps else ClampInfo().clamp_activation_value


def operator_spec(settings: PlanSettings, owner: LayerConfig, role: str) -> QuantizerSpec:
    """Specification of an operator's ``input`` or ``output`` quantizers: no clamp, two-sided.

    The owner's mixed-precision section counts under ``compat: chip``, its ``input_bits`` and ``output_bits`` too
    (docs/codes.md O15).

    Source: docs/specification/ops.md section 3.
    """
    config = settings.config
    module = owner if settings.semantics.operators_see_parts else config.for_path("")
    bits = module.input_bits if role == "input" else module.output_bits
    return _spec(config, module, QuantizerKind.activation, bits)

"""Planning layers: which quantizers each has, and why one stays float."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from linger_jax.compat import equations
from linger_jax.kinds import RECURRENT_KINDS
from linger_jax.plan.decide.decisions import Bits, Decisions, as_float
from linger_jax.plan.decide.plan_norms import plan_layer_norm
from linger_jax.plan.decide.plan_recurrent import plan_recurrent
from linger_jax.plan.decide.quantizer_specs import layer_spec
from linger_jax.plan.decide.window_limits import check_window
from linger_jax.plan.fuse import CONV_BN, remark_of
from linger_jax.plan.graph import Constant, FileLayout, Node, Scan, ValueId, ValueInfo, file_layout
from linger_jax.quantizers import QuantizerSpec
from linger_jax.staging import LAYERS
from linger_jax.typing import Path

Infos = Mapping[ValueId, ValueInfo]

# Layer kinds with a quantized rule: the roles of the quantizers each keeps in state (the table of
# docs/specification/layers.md).
LAYER_ROLES: Mapping[str, tuple[str, ...]] = {
    "dense": ("input", "weight", "output", "bias"),
    "conv": ("input", "weight", "bias", "output"),
    "conv_transpose": ("input", "weight", "bias", "output"),
    "batch_norm": ("input", "weight", "bias", "output"),
    "layer_norm": ("input", "weight", "bias", "output"),
    "embed": ("weight", "bias"),
    "einsum": ("input", "weight", "bias", "output"),
    "custom_linear": ("input", "weight", "bias", "output"),
    "custom_conv": ("input", "weight", "bias", "output"),
    "sparify_ffn": (
        "input",
        "weight_fc1",
        "weight_fc2",
        "weight_mask",
        "bias_fc1",
        "bias_fc2",
        "bias_mask",
        "outfc1",
        "outmask",
        "output",
    ),
}
CONSTRAINED_LAYERS = frozenset(
    {
        "dense",
        "conv",
        "conv_transpose",
        "batch_norm",
        "layer_norm",
        "embed",
        "einsum",
        "custom_linear",
        "custom_conv",
        *RECURRENT_KINDS,
    }
)

# Why these layer kinds always stay float: what is missing for them.
_MISSING: Mapping[str, str] = dict.fromkeys(
    ("group_norm", "rms_norm", "instance_norm", "prelu"), "kernel on the target chips"
)

# Names of the parameters that the weight and bias quantizers read; other such quantizers are named after theirs.
_PARAMETER_NAMES: Mapping[str, tuple[str, ...]] = {"weight": ("kernel", "embedding", "scale"), "bias": ("bias",)}
# Layer kinds that have a bias quantizer only where they have a bias.
_BIAS_IF_GIVEN = frozenset({"dense", "einsum", "custom_linear", "custom_conv", "sparify_ffn"})
_CUSTOM = frozenset({"custom_linear", "custom_conv"})


def plan_layer(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """Decides a layer.

    Raises:
      PlatformLimitError: a layer outside the platform's limits.
    """
    info, settings = node.layer, decisions.settings
    assert info is not None
    config = settings.config.for_path(".".join(info.path))
    for path, _ in info.inside:
        # A cell may have a name that is not below its layer's; a part that names it means the layer.
        config = config if config.part else settings.config.for_path(".".join(path))
    node = dataclasses.replace(node, state_path=info.path, config=config)
    if info.kind == "dropout":
        return dataclasses.replace(node, bits=(operand_bits[0],), quantized=operand_bits[0] is not None)
    if info.kind == CONV_BN:
        return _plan_conv_bn(decisions, node)
    reason = _float_reason(decisions, node, infos)
    if reason is not None:
        return as_float(node, reason)
    if settings.purpose == "constrain":
        return dataclasses.replace(node, quantized=True, bits=(None,) * len(node.outputs))
    _check_limits(decisions, node)
    if info.kind in RECURRENT_KINDS:
        return plan_recurrent(decisions, node, infos, operand_bits[0], _stack(decisions, node, infos))
    if info.kind == "layer_norm":
        node = plan_layer_norm(decisions, node, infos, operand_bits[0] or config.input_bits)
    parameters = {role[-1] for role in info.operands if role[0] == "params"}
    stack = _stack(decisions, node, infos)
    weight = _weight_site(decisions, node, infos, layer_spec(settings, config, "weight"), stack)
    for role in LAYER_ROLES[info.kind]:
        biased = not role.startswith("bias") or role in parameters
        if not biased and info.kind in _BIAS_IF_GIVEN:
            continue
        decisions.add(
            weight if role == "weight" else (*info.path, f"{role}_quantizer"),
            layer_spec(settings, config, role, settings.fusion.mark(info.path)),
            stack,
            active=operand_bits[0] is None if role == "input" else biased or info.kind == "batch_norm",
            parameter=_parameter(node, infos, role),
            layout=_file_layout(decisions, node, role),
        )
    output_bits = config.quant_info.weight_bits if info.kind == "embed" else config.output_bits
    bits = tuple(output_bits if role[0] == "output" else None for role in info.results)
    return dataclasses.replace(
        node,
        quantized=True,
        bits=bits,
        reason=node.reason or remark_of(node),
        attributes={**node.attributes, "weight_quantizer": weight},
    )


def _plan_conv_bn(decisions: Decisions, node: Node) -> Node:
    """A convolution with its normalization as one layer: constrained, or float where that was asked for."""
    info, settings = node.layer, decisions.settings
    assert info is not None
    disabled = settings.disabled(info.path, (info.module_type, *node.owner.module_types))
    if settings.purpose != "constrain" or disabled is not None:
        return as_float(node, disabled or "")
    return dataclasses.replace(node, quantized=True, bits=(None,) * len(node.outputs))


def _weight_site(decisions: Decisions, node: Node, infos: Infos, spec: QuantizerSpec, stack: tuple[Scan, ...]) -> Path:
    """Path of a layer's weight quantizer.

    A parameter has one integer form: a custom layer whose parameter another layer has read before it as it is stored
    (a tied embedding) takes that layer's weight quantizer, if it is of the same kind.
    """
    info = node.layer
    assert info is not None
    own = (*info.path, "weight_quantizer")
    parameter = _parameter(node, infos, "weight")
    if parameter is None:
        return own
    if info.kind in _CUSTOM:
        owner = node.owner
        if not owner.is_call and parameter[1:-1] == owner.path and issubclass(info.module_type, tuple(LAYERS)):
            own = (*owner.path, "weight_quantizer")  # a method of a known layer, as ``Embed.attend``
    known = decisions.weights.setdefault(parameter, own)
    shares = info.kind in _CUSTOM and known in decisions.quantizers
    shares = shares and decisions.quantizers[known].spec == spec and decisions.stack_of(known) == stack
    return known if shares else own


def _float_reason(decisions: Decisions, node: Node, infos: Infos) -> str | None:
    info, settings = node.layer, decisions.settings
    assert info is not None
    if settings.purpose == "float":
        return "a float model"
    constrain = settings.purpose == "constrain"
    disabled = settings.disabled(info.path, (info.module_type, *node.owner.module_types))
    for path, module_type in info.inside:
        disabled = disabled or settings.disabled(path, (module_type,))
    if disabled is not None:
        return disabled
    if node.owner.composite is not None:
        return f"inside a {node.owner.composite.what}: not covered yet"
    if info.kind not in (CONSTRAINED_LAYERS if constrain else {*LAYER_ROLES, *RECURRENT_KINDS}):
        missing = "constrained form" if constrain else _MISSING.get(info.kind, "quantized form yet")
        return f"{info.type_name} has no {missing}"
    if info.attributes.get("custom") and not settings.config.quantizes_custom_layers:
        return "disabled by custom_layers: false"
    refusal = info.refusal if constrain else info.refusal or info.attributes.get("integer_refusal")
    return refusal or _not_float32(node, infos)


def _parameter(node: Node, infos: Infos, role: str) -> Path | None:
    """The parameter that a weight or bias quantizer reads, where the layer gets it as it is stored."""
    assert node.layer is not None
    if node.layer.kind == "batch_norm":
        return None  # its quantizers act on the folded scale and shift, which are no parameters
    for atom, operand in zip(node.inputs, node.layer.operands, strict=True):
        is_read = operand[0] == "params" and operand[-1] in _PARAMETER_NAMES.get(role, (role,))
        if is_read and not isinstance(atom, Constant):
            return infos[atom].parameter if infos[atom].direct else None
    return None


def _file_layout(decisions: Decisions, node: Node, role: str) -> FileLayout | None:
    """Layout of the parameter that a weight quantizer reads, where the order of a sum over it counts."""
    assert node.layer is not None
    assert node.jaxpr is not None
    if not decisions.settings.semantics.sums_in_file_order or not role.startswith("weight"):
        return None
    for operand, aval in zip(node.layer.operands, node.jaxpr.in_avals, strict=True):
        if operand == ("params", "kernel"):
            return file_layout(node.layer.kind, len(aval.shape), node.layer.attributes.get("groups", 1))
        if operand == ("params", role):
            return file_layout("dense", len(aval.shape))
    return None


def _stack(decisions: Decisions, node: Node, infos: Infos) -> tuple[Scan, ...]:
    """The scans that iterate over the layer's parameters."""
    assert node.layer is not None
    for atom, role in zip(node.inputs, node.layer.operands, strict=True):
        if role[0] == "params" and not isinstance(atom, Constant):
            return tuple(scan for scan in infos[atom].stack if scan in decisions.parameter_scans)
    return decisions.parameter_scans


def _not_float32(node: Node, infos: Infos) -> str | None:
    assert node.layer is not None
    for atom, role in zip(node.inputs, node.layer.operands, strict=True):
        dtype = atom.dtype if isinstance(atom, Constant) else infos[atom].dtype
        wanted = role[0] == "params" or (role == ("input", "0") and node.layer.kind != "embed")
        if wanted and dtype != np.float32:
            return f"{'.'.join(role)} is {dtype}: quantization is exact in float32 only"
    return None


def _check_limits(decisions: Decisions, node: Node) -> None:
    if node.op not in ("conv", "conv_transpose", "custom_conv") or node.jaxpr is None:
        return
    for eqn in equations(node.jaxpr):
        if eqn.primitive.name != "conv_general_dilated":
            continue
        stretched = any(d != 1 for d in eqn.params["lhs_dilation"])
        transposed = node.op == "conv_transpose" or (node.op == "custom_conv" and stretched)
        kernel_axes = eqn.params["dimension_numbers"].rhs_spec[2:]
        weight: Any = eqn.invars[1]
        check_window(
            node.label,
            decisions.settings.config.platform,
            kernel=[int(weight.aval.shape[axis]) for axis in kernel_axes],
            stride=[int(s) for s in eqn.params["lhs_dilation" if transposed else "window_strides"]],
            padding=[] if transposed else [int(p) for pair in eqn.params["padding"] for p in pair],
        )

"""Planning layers: which quantizers each has, and why one stays float."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from linger_jax.compat import equations
from linger_jax.errors import UnsupportedError
from linger_jax.kinds import (
    BATCH_NORM,
    CONV,
    CONV_BN,
    CONV_TRANSPOSE,
    CUSTOM_CONV,
    CUSTOM_LINEAR,
    DENSE,
    DROPOUT,
    EINSUM,
    EMBED,
    RELU,
    RELU6,
    SPARIFY_FFN,
    QuantizerRole,
    Registry,
)
from linger_jax.plan.decide.decisions import Bits, Decisions, as_float
from linger_jax.plan.decide.quantizer_specs import layer_spec
from linger_jax.plan.decide.window_limits import check_window
from linger_jax.plan.fuse import remark_of
from linger_jax.plan.graph import WEIGHT_QUANTIZER, Constant, FileLayout, Node, Scan, ValueId, ValueInfo, file_layout
from linger_jax.quantizers import QuantizerSpec
from linger_jax.staging import LAYERS
from linger_jax.typing import Path

Infos = Mapping[ValueId, ValueInfo]

Decision = Callable[[Decisions, Node, Infos, tuple[Bits, ...]], Node]
"""Decides a node: what was decided so far (written to), the node, its graph's values, the bits of its operands."""
decides: Registry[Decision] = Registry("decide")
"""Decisions of layers, and of functions that are layers to linger; a kind without one stays float."""


def plan_layer(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """Decides a layer.

    Raises:
      PlatformLimitError: a layer outside the platform's limits.
      UnsupportedError: a layer of complex numbers.
    """
    info, settings = node.layer_info, decisions.settings
    config = settings.config.for_path(".".join(info.path))
    for path, _ in info.inside:
        # A cell may have a name that is not below its layer's; a part that names it means the layer.
        config = config if config.part else settings.config.for_path(".".join(path))
    node = dataclasses.replace(node, state_path=info.path, config=config)
    decide = decides.get(info.kind) or _stays_float
    return decide(decisions, node, infos, operand_bits)


def where_quantized(decide: Decision) -> Decision:
    """The decision of a quantized layer behind what all of them begin with: reasons to stay float, and constraining."""

    @functools.wraps(decide)
    def decide_all(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
        reason = _float_reason(decisions, node, infos)
        if reason is not None:
            return as_float(node, reason)
        if decisions.settings.purpose == "constrain":
            return dataclasses.replace(node, quantized=True, bits=(None,) * len(node.outputs))
        return decide(decisions, node, infos, operand_bits)

    return decide_all


@where_quantized
def _stays_float(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """A kind without a quantized form; its record says why."""
    del decisions, infos, operand_bits
    return as_float(node)


@decides(DENSE, EINSUM, CONV, CONV_TRANSPOSE, CUSTOM_LINEAR, CUSTOM_CONV, EMBED, BATCH_NORM, SPARIFY_FFN)
@where_quantized
def weighted_layer(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """A layer with the quantizers of its kind.

    Raises:
      PlatformLimitError: a layer outside the platform's limits.
    """
    info, settings, config = node.layer_info, decisions.settings, node.config
    assert config is not None
    _check_window(decisions, node)
    given = {role[-1] for role in info.operands if role[0] == "params"}
    stack = parameter_stack(decisions, node, infos)
    attributes = dict(node.attributes)
    for role in info.kind.quantizers:
        unused = role.acts_on == "bias" and role.parameter is not None and role.parameter not in given
        if unused and role.if_given:
            continue
        spec = layer_spec(settings, config, role, settings.fusion.mark(info.path))
        path = (*info.path, role.quantizer)
        if role.acts_on == "weight" and role.configured:
            path = attributes[WEIGHT_QUANTIZER] = _weight_path(decisions, node, infos, role, spec, stack)
        decisions.add(
            path,
            spec,
            stack,
            active=operand_bits[0] is None if role.acts_on == "input" else not unused,
            parameter=_parameter(node, infos, role),
            layout=_file_layout(decisions, node, role),
        )
    output_bits = config.quant_info.weight_bits if info.kind.looks_up else config.output_bits
    bits = tuple(output_bits if role[0] == "output" else None for role in info.results)
    return dataclasses.replace(
        node,
        quantized=True,
        bits=bits,
        reason=node.reason or remark_of(node),
        attributes=attributes,
    )


@decides(DROPOUT, RELU, RELU6)
def passing(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """A step that hands on the grid of its operand, whatever the purpose."""
    del decisions, infos
    carried = next((bits for bits in operand_bits if bits is not None), None)
    return dataclasses.replace(node, bits=(carried,), quantized=carried is not None)


@decides(CONV_BN)
def conv_bn(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """A convolution with its normalization as one layer: constrained, or float where that was asked for."""
    del infos, operand_bits
    info, settings = node.layer_info, decisions.settings
    disabled = settings.disabled(info.path, (info.module_type, *node.owner.module_types))
    if settings.purpose != "constrain" or disabled is not None:
        return as_float(node, disabled or "")
    return dataclasses.replace(node, quantized=True, bits=(None,) * len(node.outputs))


def _weight_path(
    decisions: Decisions,
    node: Node,
    infos: Infos,
    role: QuantizerRole,
    spec: QuantizerSpec,
    stack: tuple[Scan, ...],
) -> Path:
    """Path of a layer's weight quantizer.

    A parameter has one integer form: a custom layer whose parameter another layer has read before it as it is stored
    (a tied embedding) takes that layer's weight quantizer, if it is of the same kind.
    """
    info = node.layer_info
    own = (*info.path, role.quantizer)
    parameter = _parameter(node, infos, role)
    if parameter is None:
        return own
    if info.kind.outside_modules:
        owner = node.owner
        if not owner.is_call and parameter[1:-1] == owner.path and issubclass(info.module_type, tuple(LAYERS)):
            own = (*owner.path, role.quantizer)  # a method of a known layer, as ``Embed.attend``
    known = decisions.weights.setdefault(parameter, own)
    shares = info.kind.outside_modules and known in decisions.quantizers
    shares = shares and decisions.quantizers[known].spec == spec and decisions.stack_of(known) == stack
    return known if shares else own


def _float_reason(decisions: Decisions, node: Node, infos: Infos) -> str | None:
    info, settings = node.layer_info, decisions.settings
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
    missing = info.kind.unconstrained_because if constrain else info.kind.float_because
    if missing is not None:
        return f"{info.type_name} has {missing}"
    if info.attributes.get("custom") and not settings.config.quantizes_custom_layers:
        return "disabled by custom_layers: false"
    _refuse_complex(node, infos)
    refusal = info.refusal if constrain else info.refusal or info.attributes.get("integer_refusal")
    return refusal or _not_float32(node, infos)


def _parameter(node: Node, infos: Infos, role: QuantizerRole) -> Path | None:
    """The parameter that a weight or bias quantizer reads, where the layer gets it as it is stored."""
    for atom, operand in zip(node.inputs, node.layer_info.operands, strict=True):
        is_read = operand[0] == "params" and operand[-1] == role.parameter
        if is_read and not isinstance(atom, Constant):
            return infos[atom].parameter if infos[atom].direct else None
    return None


def _file_layout(decisions: Decisions, node: Node, role: QuantizerRole) -> FileLayout | None:
    """Layout of the parameter that a weight quantizer reads, where the order of a sum over it counts."""
    order = node.layer_info.kind.kernel_order
    if order is None or role.acts_on != "weight" or not decisions.settings.semantics.sums_in_file_order:
        return None
    for operand, aval in zip(node.layer_info.operands, node.float_jaxpr.in_avals, strict=True):
        if operand == ("params", role.parameter):
            return file_layout(order, len(aval.shape), node.layer_info.attributes.get("groups", 1))
    return None


def parameter_stack(decisions: Decisions, node: Node, infos: Infos) -> tuple[Scan, ...]:
    """The scans that iterate over the layer's parameters."""
    for atom, role in zip(node.inputs, node.layer_info.operands, strict=True):
        if role[0] == "params" and not isinstance(atom, Constant):
            return tuple(scan for scan in infos[atom].stack if scan in decisions.parameter_scans)
    return decisions.parameter_scans


def _not_float32(node: Node, infos: Infos) -> str | None:
    for atom, role in zip(node.inputs, node.layer_info.operands, strict=True):
        dtype = atom.dtype if isinstance(atom, Constant) else infos[atom].dtype
        wanted = role[0] == "params" or (role == ("input", "0") and not node.layer_info.kind.looks_up)
        if wanted and dtype != np.float32:
            return f"{'.'.join(role)} is {dtype}: quantization is exact in float32 only"
    return None


def _refuse_complex(node: Node, infos: Infos) -> None:
    """A model with complex inputs would silently be a float model.

    Raises:
      UnsupportedError: the layer's input holds complex numbers.
    """
    for atom, role in zip(node.inputs, node.layer_info.operands, strict=True):
        dtype = atom.dtype if isinstance(atom, Constant) else infos[atom].dtype
        if role == ("input", "0") and jnp.issubdtype(dtype, jnp.complexfloating):
            where = f" at {node.source}" if node.source else ""
            raise UnsupportedError(
                f"{node.label}{where}: its input is {dtype}; a quantizer takes real numbers. Give the layer jnp.real, "
                "jnp.imag or jnp.abs of it, or leave the layer float with disable_submodel"
            )


def _check_window(decisions: Decisions, node: Node) -> None:
    """Checks the window of the convolution that a layer computes, if it computes one."""
    if node.jaxpr is None:
        return
    for eqn in equations(node.jaxpr):
        if eqn.primitive.name != "conv_general_dilated":
            continue
        stretched = any(d != 1 for d in eqn.params["lhs_dilation"])
        transposed = node.kind == CONV_TRANSPOSE or stretched
        kernel_axes = eqn.params["dimension_numbers"].rhs_spec[2:]
        weight: Any = eqn.invars[1]
        check_window(
            node.label,
            decisions.settings.config.platform,
            kernel=[int(weight.aval.shape[axis]) for axis in kernel_axes],
            stride=[int(s) for s in eqn.params["lhs_dilation" if transposed else "window_strides"]],
            padding=[] if transposed else [int(p) for pair in eqn.params["padding"] for p in pair],
            in_two=decisions.settings.semantics.trains_windows_in_two
            and not transposed
            and all(d == 1 for d in eqn.params["rhs_dilation"]),
        )

"""Planning pools: limits, names and quantizers."""

from __future__ import annotations

import dataclasses

from linger_jax.kinds import AVG_POOL, MAX_POOL, Kind
from linger_jax.plan.decide.decisions import Bits, Decisions, as_float
from linger_jax.plan.decide.plan_layers import Infos, decides
from linger_jax.plan.decide.quantizer_specs import layer_spec
from linger_jax.plan.decide.window_limits import check_window
from linger_jax.plan.graph import Constant, Node
from linger_jax.plan.recognize import spatial_window


@decides(MAX_POOL)
def plan_max_pool(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """A maximum over windows of a quantized value: scale and bits pass through.

    Raises:
      PlatformLimitError: a window outside the platform's limits.
    """
    bits = operand_bits[0]
    if bits is None:
        return as_float(node)
    assert not isinstance(node.inputs[0], Constant)
    window = spatial_window(node.attributes, infos[node.inputs[0]].shape)
    if window is not None:
        check_window(
            _where(node, MAX_POOL),
            decisions.settings.config.platform,
            kernel=window.kernel,
            stride=window.strides,
            padding=[p for pair in window.padding for p in pair],
        )
    return dataclasses.replace(node, op=MAX_POOL.name, bits=(bits,), quantized=True)


@decides(AVG_POOL)
def plan_average_pool(decisions: Decisions, node: Node, infos: Infos, operand_bits: tuple[Bits, ...]) -> Node:
    """An average over windows or over the whole plane (docs/specification/layers.md section 9, docs/decisions.md D5).

    Raises:
      PlatformLimitError: a window outside the platform's limits; elements that span a whole axis are exempt.
    """
    if operand_bits[0] is None and node.pool.whole_plane:
        return as_float(node)  # the mean of a float plane: a step of the model like any other
    owner, reason = decisions.owner(node)
    if owner is None:
        return as_float(node, reason)
    assert not isinstance(node.inputs[0], Constant)
    plane, window = infos[node.inputs[0]].shape[1:-1], node.pool.window
    check_window(
        _where(node, AVG_POOL),
        decisions.settings.config.platform,
        kernel=[k for k, extent in zip(window.kernel, plane, strict=True) if k != extent],
        stride=[s for s, extent in zip(window.strides, plane, strict=True) if s != extent],
        padding=[p for pair in window.padding for p in pair],
    )
    settings = decisions.settings
    config = settings.config.for_path(".".join(owner.path))
    state_path = decisions.name(owner, "_linger_avg_pool", counter="avg_pool")
    first, last = AVG_POOL.quantizers
    entering, leaving = layer_spec(settings, config, first), layer_spec(settings, config, last)
    if settings.semantics.pool_keeps_scale:
        # At the scale of its input an average needs the input's bits, whatever the configuration gives outputs.
        leaving = dataclasses.replace(leaving, bits=operand_bits[0] or entering.bits)
    decisions.add((*state_path, first.quantizer), entering, decisions.parameter_scans, active=operand_bits[0] is None)
    decisions.add(
        (*state_path, last.quantizer),
        leaving,
        decisions.parameter_scans,
        active=not settings.semantics.pool_keeps_scale,
    )
    return dataclasses.replace(node, state_path=state_path, config=config, quantized=True, bits=(leaving.bits,))


def _where(node: Node, kind: Kind) -> str:
    return ".".join((*node.owner.path, kind.name)) + (f" at {node.source}" if node.source else "")

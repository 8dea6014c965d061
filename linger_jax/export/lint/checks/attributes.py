"""Checks that the packer finds the attributes that it needs (docs/specification/onnx_export.md sections 1 and 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from linger_jax.config import RoundMode
from linger_jax.export.lint.checks.check import Check, measured
from linger_jax.export.lint.finding import Problem, differs, refuses
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.program import Program
from linger_jax.kinds import ONNX_OPERATORS
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import PlatformQuant

ROUNDING = frozenset(operator for operator in ONNX_OPERATORS if operator.needs_rounding)
_STATES_ROUNDING = frozenset(operator for operator in ONNX_OPERATORS if operator.states_rounding)
PLATFORM_QUANT = "add_platform_quant_luna_quant"
_OTHER_CHIP_OR_DIALECT = "Choose platform arcs, or export for venus with dialect='thinker'"


def _rounding(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    stated = view.node.attributes.get("quant_mode")
    if stated not in list(RoundMode):
        yield refuses(
            f"quant_mode {stated!r}" if stated is not None else "no quant_mode",
            f"one of {', '.join(RoundMode)}",
            "Export the file anew, or add the attribute quant_mode='floor_add'",
        )


def _half_up(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    stated = view.node.attributes.get("quant_mode", RoundMode.floor_add)
    if stated in list(RoundMode) and stated != RoundMode.floor_add:
        yield differs(
            f"quant_mode {stated!r}",
            "floor_add: the executor rounds half up whatever the file says",
            "Train with round_mode: floor_add",
        )


def _platform_quant(view: NodeView, program: Program) -> Iterator[Problem]:
    if program.device.platform_quant is not PlatformQuant.unused and not view.has("platform_quant"):
        yield refuses(
            "no platform_quant",
            "platform_quant='luna_quant'",
            _OTHER_CHIP_OR_DIALECT,
            _if_it_helps(PLATFORM_QUANT, program.device.platform_quant),
        )


def _softmax_dim(view: NodeView, program: Program) -> Iterator[Problem]:
    if program.device.platform_quant is not PlatformQuant.unused and not view.has("dim"):
        yield refuses(
            "axis only",
            "the attribute dim beside axis",
            _OTHER_CHIP_OR_DIALECT,
            _if_it_helps("softmax_dim_attribute", program.device.platform_quant),
        )


def _if_it_helps(edit: str, asked: PlatformQuant) -> str:
    """A rewrite of the dialect ``thinker``, where files pack after it."""
    match asked:
        case PlatformQuant.wanted:
            return edit
        case PlatformQuant.unused | PlatformQuant.wanted_in_vain:
            return ""
        case _:
            assert_never(asked)


def _backend(view: NodeView, program: Program) -> Iterator[Problem]:
    if view.operator is not None and view.operator.name in program.device.missing_operators:
        yield refuses(
            view.node.op,
            f"the packer has no implementation of it for {program.platform.value}",
            "Choose platform arcs, whose chip is supported best",
        )


CHECKS = (
    Check("quant_mode", _rounding, ROUNDING, measured),
    Check("rounding", _half_up, _STATES_ROUNDING),
    Check("platform_quant", _platform_quant, ROUNDING),
    Check("softmax dim", _softmax_dim, {ops.QSOFTMAX}),
    Check("backend", _backend),
)

"""Checks results of more bits than float32 holds: evaluation keeps 24 significant ones, the executor all.

Source: docs/specification/onnx_export.md section 3; measured for sums, products and linear layers of 32 bits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.finding import Problem, differs
from linger_jax.export.lint.node_view import NodeView, Tensor
from linger_jax.export.lint.program import Program
from linger_jax.kinds import ONNX_OPERATORS, Role
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import EXACT_BITS

_COMPUTED = frozenset(op for op in ONNX_OPERATORS if op.quantized and op.states_rounding)


def _wide(view: NodeView, program: Program) -> Iterator[Problem]:
    bits = view.integer("o_bits")
    if bits is None or bits <= EXACT_BITS:
        return
    largest = _largest(program, view)
    if largest > 2.0**EXACT_BITS:
        yield differs(
            f"{bits}-bit results of up to {largest:.3g} steps",
            f"{EXACT_BITS} bits: evaluation keeps as many significant ones, the executor all",
            f"Set activate_bits, or output_bits of the layer, to {EXACT_BITS} or fewer",
        )


def _largest(program: Program, view: NodeView) -> float:
    """The largest magnitude that a node's result can have, in its steps."""
    bits = view.integer("o_bits", EXACT_BITS) or EXACT_BITS
    found = 2.0 ** (bits - 1)
    scale, x, y = (view.number(f"scale_{letter}") for letter in "oxy")
    if scale is None or x is None:
        return found
    if view.operator is ops.REQUANT:
        return min(found, _of(program, view.input(0)) * scale / x)
    if view.operator is ops.QADD and y is not None:
        return min(found, sum(_of(program, view.input(i)) * scale / s for i, s in enumerate((x, y))))
    if view.operator in ops.WEIGHTED:
        return min(found, _of_product(program, view) * scale / (x * (view.number("scale_w") or 1.0)))
    return found


def _of_product(program: Program, view: NodeView) -> float:
    """The largest magnitude of a sum of products with stored weights."""
    assert view.operator is not None
    place = view.operator.inputs.index(Role.weight)
    weight, bias = view.input(place), view.input(place + 1)
    if weight is None or weight.constant is None:
        return float("inf")
    added = 0.0 if bias is None else _of(program, bias)
    sizes = np.abs(weight.constant.astype(np.float64))
    of_output = sizes.sum() if view.operator in ops.TRANSPOSED else sizes.reshape(len(sizes), -1).sum(1).max(initial=0)
    return float(of_output) * _of(program, view.input(0)) + added


def _of(program: Program, tensor: Tensor | None) -> float:
    """The largest magnitude that a tensor can hold."""
    if tensor is None:
        return float("inf")
    if tensor.constant is not None:
        return float(np.abs(tensor.constant.astype(np.float64)).max(initial=0))
    maker = program.maker(tensor)
    if maker is not None and maker.operator in _COMPUTED:
        return _largest(program, maker)
    return 2.0 ** ((tensor.bits or EXACT_BITS) - 1)


CHECKS = (Check("wide result", _wide, _COMPUTED),)

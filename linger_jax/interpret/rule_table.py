"""The rule of every planned node."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from linger_jax.interpret import binary_operators, kernel_functions, layers, moves, tables
from linger_jax.interpret.context import Context, Mode, Value
from linger_jax.interpret.control_flow import rules
from linger_jax.interpret.interpreter import InterpreterRule, constrains, interprets
from linger_jax.interpret.interpreter import interpret as walk
from linger_jax.interpret.tied_scales import begin_region
from linger_jax.plan import Graph, Node

REGISTERING = (binary_operators, kernel_functions, layers, moves, tables)
"""The modules that hold the rules."""


def interpret(ctx: Context, graph: Graph, inputs: Sequence[Value]) -> list[Value]:
    """Evaluates a planned graph in the context's mode, control flow included."""
    begin_region(ctx)
    return walk(ctx, graph, inputs, functools.partial(rule_of, ctx))


def rule_of(ctx: Context, node: Node) -> InterpreterRule | None:
    """The rule of a node in the context's mode, if it has one."""
    loop = _LOOPS.get(node.op)
    return loop or (constrains if ctx.mode is Mode.constrain else interprets).get(node.kind)


_LOOPS = rules(interpret)

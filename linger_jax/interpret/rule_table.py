"""The rule of every planned operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from linger_jax.interpret import binary_operators, control_flow, kernel_functions, moves
from linger_jax.interpret.context import Context, Mode, Value
from linger_jax.interpret.interpreter import InterpreterRule
from linger_jax.interpret.interpreter import interpret as walk
from linger_jax.interpret.layers import CONSTRAINED, LAYERS, fused
from linger_jax.interpret.tied_scales import begin_region
from linger_jax.plan import CONV_BN, Graph

_OPERATORS: Mapping[str, InterpreterRule] = {
    **moves.RULES,
    **binary_operators.RULES,
    **kernel_functions.RULES,
    CONV_BN: fused,
}


def interpret(ctx: Context, graph: Graph, inputs: Sequence[Value]) -> list[Value]:
    """Evaluates a planned graph in the context's mode, control flow included."""
    begin_region(ctx)
    layers = CONSTRAINED if ctx.mode is Mode.constrain else LAYERS
    return walk(ctx, graph, inputs, {**_OPERATORS, **layers, **control_flow.rules(interpret)})

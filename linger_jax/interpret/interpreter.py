"""Walking a planned graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from linger_jax.errors import LingerError
from linger_jax.interpret.context import Context, Value, plain
from linger_jax.kinds import Registry
from linger_jax.plan import Atom, Constant, Graph, Node

InterpreterRule = Callable[[Context, Node, Sequence[Value]], list[Value]]
RuleOfNode = Callable[[Node], InterpreterRule | None]

interprets: Registry[InterpreterRule] = Registry("interpret")
"""What each kind of step computes, quantized."""
constrains: Registry[InterpreterRule] = Registry("constrain")
"""What each kind of layer computes in a constrained model."""


def interpret(ctx: Context, graph: Graph, inputs: Sequence[Value], rule_of: RuleOfNode) -> list[Value]:
    """Evaluates ``graph``: a rule for each quantized node, the node's own float evaluation for the rest.

    Args:
      ctx: mode and quantizer state; ``ctx.state`` holds the new state afterwards.
      graph: a planned graph.
      inputs: arrays, or ``QTensor`` where the plan says so.
      rule_of: the rule of a node, if it has one.

    Returns:
      The graph's outputs.
    """
    env: dict[int, Value] = dict(zip(graph.inputs, inputs, strict=True))

    def read(atom: Atom) -> Value:
        if not isinstance(atom, Constant):
            return env[atom]
        if isinstance(atom.value, (bool, int, float, complex)):
            return np.asarray(atom.value, atom.dtype)
        return atom.value

    for node in graph.nodes:
        operands = [read(atom) for atom in node.inputs]
        rule = rule_of(node) if node.quantized or node.run is None else None
        if rule is not None:
            results = _noted(ctx, node, operands, rule)
        elif node.quantized:
            raise LingerError(f"{node.label}: no rule interprets {node.op}; please report this")
        elif node.run is None:
            continue
        else:
            results = node.run(*(plain(x) for x in operands))
        env.update(zip(node.outputs, results, strict=True))
    return [read(atom) for atom in graph.outputs]


def _noted(ctx: Context, node: Node, operands: Sequence[Value], rule: InterpreterRule) -> list[Value]:
    """What the rule returns, noted where somebody records."""
    if ctx.recording is None:
        return rule(ctx, node, operands)
    ctx.recording.begin(node)
    before = dict(ctx.state)
    results = rule(ctx, node, operands)
    ctx.recording.end(node, before, ctx.state, results)
    return results


def single(run: Callable[..., list[Any]] | None, *operands: Any) -> Any:
    """The one result of a node's float evaluation."""
    assert run is not None
    (result,) = run(*operands)
    return result

"""remat and scan, rebuilt with quantizer state as explicit input and output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linger_jax.compat import REMAT, SCAN
from linger_jax.interpret.context import Context, State, Value, plain
from linger_jax.interpret.interpreter import InterpreterRule
from linger_jax.interpret.recording import Recording
from linger_jax.plan import Graph, Node
from linger_jax.plan.graph import CARRIED, CARRY_BITS, STACKED, USED
from linger_jax.typing import Path

Interpreter = Callable[[Context, Graph, Sequence[Value]], list[Value]]


def rules(interpret: Interpreter) -> Mapping[str, InterpreterRule]:
    """Rules of the control-flow operators; ``interpret`` runs their bodies."""

    def remat(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
        body = node.loop_body

        def run(state: State, operands: list[Value]) -> tuple[list[Value], State, dict[Path, Any]]:
            inner = ctx.region(state)
            results = interpret(inner, body, operands)
            return results, inner.state, inner.non_finite

        barriers: Any = node.attributes["prevent_cse"]  # of all operands, or a flag for each
        barriers = barriers if isinstance(barriers, bool) else (True, list(barriers))
        checkpointed = jax.checkpoint(run, policy=node.attributes["policy"], prevent_cse=barriers)
        inside = {path: ctx.state[path] for path in node.attributes[USED]}
        # Where somebody records nothing is differentiated, and nothing may be traced twice.
        evaluated = run if ctx.recording is not None else checkpointed
        results, state, non_finite = evaluated(inside, list(operands))
        ctx.state.update(state)
        _merge_flags(ctx, non_finite)
        return results

    def scan(ctx: Context, node: Node, operands: Sequence[Value]) -> list[Value]:
        body, a = node.loop_body, node.attributes
        fixed, carried = a["consts"], a["carry"]
        consts = list(operands[:fixed])
        carry = [
            plain(x) if bits is None else x
            for x, bits in zip(operands[fixed : fixed + carried], a[CARRY_BITS], strict=True)
        ]
        xs = [plain(x) for x in operands[fixed + carried :]]
        moving = {path: ctx.state[path] for path in a[CARRIED]}
        stacked = {path: ctx.state[path] for path in a[STACKED]}
        if ctx.recording is not None:
            return unrolled(ctx, ctx.recording, node, consts, carry, xs)

        def step(carry: tuple[list[Value], State], x: tuple[list[Any], State]) -> Any:
            values, moving = carry
            slices, here = x
            inner = ctx.region({**moving, **here})
            results = interpret(inner, body, [*consts, *values, *slices])
            after = [plain(y) if bits is None else y for y, bits in zip(results[:carried], a[CARRY_BITS], strict=True)]
            moving = {path: inner.state[path] for path in moving}
            here = {path: inner.state[path] for path in here}
            return (after, moving), ([plain(y) for y in results[carried:]], here, inner.non_finite)

        (last, moving), (ys, stacked, non_finite) = jax.lax.scan(
            step,
            (carry, moving),
            (xs, stacked),
            length=a["length"],
            reverse=a["reverse"],
            unroll=a["unroll"],
        )
        ctx.state.update({**moving, **stacked})
        _merge_flags(ctx, {path: flag.any() for path, flag in non_finite.items()})
        return [*last, *ys]

    def unrolled(
        ctx: Context, recording: Recording, node: Node, consts: list[Value], carry: list[Value], xs: list[Any]
    ) -> list[Value]:
        """Every iteration by itself, so that each leaves its own notes."""
        a, around = node.attributes, recording.iterations
        moving = {path: ctx.state[path] for path in a[CARRIED]}
        stacked = {path: ctx.state[path] for path in a[STACKED]}
        collected: dict[int, list[Any]] = {}
        for i in range(a["length"])[:: -1 if a["reverse"] else 1]:
            recording.iterations = (*around, i)
            here = {path: {name: entry[i] for name, entry in entries.items()} for path, entries in stacked.items()}
            inner = ctx.region({**moving, **here})
            results = interpret(inner, node.loop_body, [*consts, *carry, *(x[i] for x in xs)])
            moving = {path: inner.state[path] for path in moving}
            after = zip(results, a[CARRY_BITS], strict=False)
            carry = [plain(y) if bits is None else y for y, bits in after]
            collected[i] = [plain(y) for y in results[len(carry) :]]
        recording.iterations = around
        ctx.state.update(moving)
        return [*carry, *(jnp.stack(y) for y in zip(*(collected[i] for i in sorted(collected)), strict=True))]

    return {REMAT: remat, SCAN: scan}


def _merge_flags(ctx: Context, flags: Mapping[Path, Any]) -> None:
    for path, flag in flags.items():
        known = ctx.non_finite.get(path)
        ctx.non_finite[path] = flag if known is None else known | flag

"""The compiled half of an analysis: one batch in, what was counted of it out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.api.analysis.tally import ACCUMULATED, RESULT, Tallies, Tally, of_result
from linger_jax.api.analysis.three_runs import Pair, Watch, three_runs
from linger_jax.interpret import Context, Mode, State, plain
from linger_jax.plan import Plan

OUTPUT = -1
"""Where the tallies of the model's output are."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Measured:
    """One batch.

    Attributes:
      tallies: what was counted.
      outputs: of the float and of the quantized run, as the model returns them; None where nobody asked for them.
    """

    tallies: Tallies
    outputs: tuple[Any, Any]


def measuring(plan: Plan, with_outputs: bool) -> Callable[..., Measured]:
    """The compiled function that measures one batch by a plan.

    Args:
      plan: of the call.
      with_outputs: whether it returns the model's outputs.

    Returns:
      A function of the quantizers' state, the leaves of the variables, the arrays of the call and the batch's number.
    """
    last_steps = {row.steps[-1]: i for i, row in enumerate(plan.rows()) if row.steps}

    def run(state: State, leaves: list[Any], arrays: list[Any], number: jax.Array) -> Measured:
        ctx = Context(plan.settings, plan.quantizers, Mode.evaluate, dict(state), writes_state=False)
        inputs = [*(Pair(leaf, leaf) for leaf in leaves), *(Pair(plain(array), array) for array in arrays)]
        results, tallies = three_runs(ctx, plan.graph, inputs, Watch(last_steps, number))
        pairs = [(pair.real, plain(pair.quantized)) for pair in results]
        outputs = tuple(jax.tree.unflatten(plan.staged.out_tree, [pair[i] for pair in pairs])[0] for i in (0, 1))
        compared = [
            of_result(ACCUMULATED, real, quantized, number)
            for real, quantized in zip(*map(jax.tree.leaves, outputs), strict=True)
            if jnp.issubdtype(jnp.result_type(real), np.floating) and real.size
        ]
        if compared:
            tallies[OUTPUT] = {RESULT: _together(compared)}
        return Measured(tallies, outputs if with_outputs else (None, None))

    return jax.jit(run)


def _together(tallies: list[Tally]) -> Tally:
    sums = {name: jnp.sum(jnp.stack([t.sums[name] for t in tallies]), 0) for name in tallies[0].sums}
    largest = {name: jnp.max(jnp.stack([t.largest[name] for t in tallies]), 0) for name in tallies[0].largest}
    return Tally(sums, largest)

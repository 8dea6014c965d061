"""One walk over a planned graph that evaluates it in three ways at once and compares them at every node.

* in float: each node's own float computation on float values;
* accumulated: the quantized evaluation, as ``apply`` makes it;
* alone: each quantized node on the values of the float run, by its own quantizers, its sums formed in float32. The
  error of an operand's grid belongs to the node that chose it: sums and products take the float values as they are.
  Other nodes (functions, averages, recurrent layers) read integers; these get the values on that grid, and what they
  return is compared with their float computation of the same numbers.

Loops over steps (``scan``) stay loops.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linger_jax.api.analysis.tally import (
    ACCUMULATED,
    ALONE,
    RESULT,
    Tallies,
    Tally,
    limits_of,
    of_quantizer,
    of_result,
    of_sum,
    over_iterations,
    with_errors,
)
from linger_jax.compat import SCAN
from linger_jax.config import ActivationType
from linger_jax.interpret import Context, Recording, State, begin_region, plain, rule_of
from linger_jax.kinds import (
    ADD,
    BATCH_NORM,
    CAT,
    CONV,
    CONV_TRANSPOSE,
    CUSTOM_CONV,
    CUSTOM_LINEAR,
    DENSE,
    EINSUM,
    MATMUL,
    MUL,
)
from linger_jax.plan import Constant, Graph, Node
from linger_jax.plan.graph import CARRIED, CARRY_BITS, STACKED, USED
from linger_jax.quantizers import QTensor, QuantizerKind
from linger_jax.typing import Path

Array = jax.Array
Value = Any  # an Array or a QTensor


@dataclasses.dataclass(frozen=True)
class Pair:
    """A value in the float run, and in the quantized run."""

    real: Any
    quantized: Value


@dataclasses.dataclass(eq=False)
class _Notes(Recording):
    """What the quantizers of one node got: its weights, its biases, and inputs that came without a grid."""

    seen: dict[Path, tuple[Array, QTensor]] = dataclasses.field(default_factory=dict)

    def note(self, path: Path, given: Array, result: QTensor) -> None:
        """A quantizer returned; others than these may stand inside a loop over time."""
        is_input = any(name.startswith("input_quantizer") for name in path[-2:])
        if is_input or self.quantizers[path].spec.kind is not QuantizerKind.activation:
            self.seen[path] = given, result


_COMPUTE_ON_ANY_VALUES = frozenset(
    (ADD, BATCH_NORM, CAT, CONV, CONV_TRANSPOSE, CUSTOM_CONV, CUSTOM_LINEAR, DENSE, EINSUM, MATMUL, MUL)
)
"""Kinds of which the rules, in float32, compute on values as they are: these need not lie on their grid."""


class _InFloat32(Context):
    """An evaluation that sums quantized numbers in float32, as training does: a part of the cost of integers."""

    @property
    def in_integers(self) -> bool:
        """No."""
        return False


@dataclasses.dataclass(frozen=True)
class Watch:
    """Which nodes are compared.

    Attributes:
      rows: row of the plan, by the first result of the node that stands for it.
      batch: float32 scalar, the number of the batch.
    """

    rows: Mapping[int, int]
    batch: Array


def three_runs(ctx: Context, graph: Graph, inputs: Sequence[Pair], watch: Watch) -> tuple[list[Pair], Tallies]:
    """Evaluates a graph in three ways.

    Args:
      ctx: an evaluation; its state holds the new one afterwards.
      graph: a planned graph.
      inputs: of the graph.
      watch: which nodes are compared.

    Returns:
      The graph's outputs, and what was counted.
    """
    begin_region(ctx)
    env: dict[int, Pair] = dict(zip(graph.inputs, inputs, strict=True))
    tallies: Tallies = {}

    def read(atom: Any) -> Pair:
        if not isinstance(atom, Constant):
            return env[atom]
        scalar = isinstance(atom.value, (bool, int, float, complex))
        value = np.asarray(atom.value, atom.dtype) if scalar else atom.value
        return Pair(value, value)

    for node in graph.nodes:
        operands = [read(atom) for atom in node.inputs]
        rule = rule_of(ctx, node) if node.quantized or node.run is None else None
        if rule is None and node.run is None:
            continue
        if rule is not None and node.body is not None:
            results, inside = (_scan if node.op == SCAN else _remat)(ctx, node, operands, watch)
            tallies |= inside
        else:
            results, found = _one_node(ctx, node, rule, operands, watch)
            if found:
                tallies[watch.rows[node.outputs[0]]] = found
        env.update(zip(node.outputs, results, strict=True))
    return [read(atom) for atom in graph.outputs], with_errors(tallies, ctx.quantizers)


def _one_node(
    ctx: Context, node: Node, rule: Callable[..., Any] | None, operands: list[Pair], watch: Watch
) -> tuple[list[Pair], dict[Path, Tally]]:
    floats = [plain(pair.real) for pair in operands]
    real = _in_float(ctx, node, floats)
    at = next((i for i, bits in enumerate(node.bits) if bits is not None), 0)
    watched = node.outputs and node.outputs[0] in watch.rows and jnp.issubdtype(jnp.result_type(real[at]), np.floating)
    alone = compared = real
    notes = _Notes(ctx.quantizers, frozenset())
    steps = node.quantized and not (node.kind is not None and node.kind.passes)
    given: list[Value] = []
    if watched and rule is not None and steps:
        computes = node.kind in _COMPUTE_ON_ANY_VALUES
        given = [
            _on_grid(value, pair.quantized, rounded=not computes) for value, pair in zip(floats, operands, strict=True)
        ]
        if not computes and any(isinstance(value, QTensor) for value in given):
            compared = _in_float(ctx, node, [plain(value) for value in given])
        by_itself = _InFloat32(ctx.settings, ctx.quantizers, ctx.mode, dict(ctx.state), recording=notes)
        alone = rule(by_itself, node, given)
    values = [pair.quantized for pair in operands]
    quantized = rule(ctx, node, values) if rule is not None else _in_float(ctx, node, [plain(v) for v in values])
    results = [Pair(r, q) for r, q in zip(real, quantized, strict=True)]
    if not watched:
        return results, {}
    output = _output_quantizer(ctx, node) if steps else None
    spec = None if output is None else ctx.quantizers[output].spec
    rectified = spec is not None and spec.activation_type is ActivationType.Relu
    layer = node.layer is not None and bool(notes.seen) and real[at].ndim > 1
    result = of_result(ACCUMULATED, real[at], plain(quantized[at]), watch.batch, rectified=rectified)
    if alone is not real:
        itself = of_result(ALONE, compared[at], plain(alone[at]), watch.batch, rectified=rectified, by_channel=layer)
        result = Tally(result.sums | itself.sums, result.largest | itself.largest)
    found = {RESULT: result}
    for path, (x, returned) in notes.seen.items():
        found[path] = of_quantizer(ctx.quantizers[path].spec, x, returned)
    if output is not None and spec is not None and isinstance(alone[at], QTensor):
        found[output] = of_quantizer(spec, real[at], alone[at], rectified=rectified)
    product = _scale_of_products(ctx, notes, given)
    if product is not None:
        found[RESULT].largest["sum"] = of_sum(compared[at], product)
    return results, found


def _in_float(ctx: Context, node: Node, values: list[Any]) -> list[Any]:
    """A node's own float computation; a fused layer that has none is float in its rule."""
    if node.run is not None:
        return list(node.run(*values))
    rule = rule_of(ctx, node)
    assert rule is not None, node.op
    return [plain(value) for value in rule(dataclasses.replace(ctx, state=dict(ctx.state)), node, values)]


def _on_grid(value: Any, quantized: Value, *, rounded: bool) -> Value:
    """A float value with the grid that it has in the quantized run, and brought to it if asked for."""
    if not isinstance(quantized, QTensor):
        return value
    if not rounded:
        return QTensor(value, quantized.scale, quantized.bits)
    low, high = limits_of(quantized.bits)
    steps = lax.clamp(low, jnp.round(value * quantized.scale), high)
    return QTensor(steps / quantized.scale, quantized.scale, quantized.bits)


def _output_quantizer(ctx: Context, node: Node) -> Path | None:
    """The quantizer whose scale a node's result has, where it chooses one."""
    if node.state_path is None:
        return None
    for name in ("output_quantizer", "hidden_quantizer"):
        quantizer = ctx.quantizers.get(node.quantizer_path(name))
        if quantizer is not None and quantizer.active and quantizer.fixed_scale is None:
            return quantizer.path
    return None


def _scale_of_products(ctx: Context, notes: _Notes, given: list[Value]) -> Array | None:
    """Steps per unit of the sum of a layer with one weight."""
    kinds = {path: ctx.quantizers[path].spec.kind for path in notes.seen}
    weights = [notes.seen[path][1] for path, kind in kinds.items() if kind is QuantizerKind.weight]
    inputs = [notes.seen[path][1] for path, kind in kinds.items() if kind is QuantizerKind.activation]
    inputs += [value for value in given if isinstance(value, QTensor)]
    return weights[0].scale * inputs[0].scale if len(weights) == 1 and inputs else None


def _remat(ctx: Context, node: Node, operands: list[Pair], watch: Watch) -> tuple[list[Pair], Tallies]:
    inner = ctx.region({path: ctx.state[path] for path in node.attributes[USED]})
    results, tallies = three_runs(inner, node.loop_body, operands, watch)
    ctx.state.update(inner.state)
    return results, tallies


def _scan(ctx: Context, node: Node, operands: list[Pair], watch: Watch) -> tuple[list[Pair], Tallies]:
    a = node.attributes
    fixed, carried = a["consts"], a["carry"]
    consts = operands[:fixed]

    def carry_of(pairs: Sequence[Pair]) -> list[tuple[Any, Value]]:
        taken = zip(pairs, a[CARRY_BITS], strict=False)
        return [(jnp.asarray(p.real), plain(p.quantized) if bits is None else p.quantized) for p, bits in taken]

    xs = [(plain(p.real), plain(p.quantized)) for p in operands[fixed + carried :]]
    moving: State = {path: ctx.state[path] for path in a[CARRIED]}
    stacked: State = {path: ctx.state[path] for path in a[STACKED]}

    def step(carry: Any, x: Any) -> Any:
        (values, moving), (slices, here) = carry, x
        inner = ctx.region({**moving, **here})
        pairs = [*consts, *(Pair(*v) for v in values), *(Pair(*v) for v in slices)]
        results, tallies = three_runs(inner, node.loop_body, pairs, watch)
        ys = [(p.real, plain(p.quantized)) for p in results[carried:]]
        after = carry_of(results[:carried]), {path: inner.state[path] for path in moving}
        return after, (ys, {path: inner.state[path] for path in here}, tallies)

    begin = carry_of(operands[fixed : fixed + carried]), moving
    (last, moving), (ys, stacked, tallies) = lax.scan(
        step, begin, (xs, stacked), length=a["length"], reverse=a["reverse"], unroll=a["unroll"]
    )
    ctx.state.update({**moving, **stacked})
    own = {watch.rows[n.outputs[0]]: n for n in node.loop_body.walk() if n.outputs and n.outputs[0] in watch.rows}
    tallies = {
        row: found if _is_stacked(own[row], a[STACKED]) else {path: over_iterations(t) for path, t in found.items()}
        for row, found in tallies.items()
    }
    return [Pair(*value) for value in (*last, *ys)], tallies


def _is_stacked(node: Node, stacked: Sequence[Path]) -> bool:
    """Whether each iteration of a loop has a layer of its own."""
    path = node.state_path
    return path is not None and any(other[: len(path)] == path for other in stacked)

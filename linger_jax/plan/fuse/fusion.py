"""Layers that are computed together: what ``trace_layers`` finds, as a value, and putting it into a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from linger_jax.config import ActivationType
from linger_jax.errors import PlanError
from linger_jax.kinds import CONV_BN, FOLDED_NORM
from linger_jax.plan.graph import HOLDS, LOST, Constant, Graph, Node, Uses
from linger_jax.staging import LayerInfo
from linger_jax.typing import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class FusedPair:
    """A convolution and the batch normalization behind it.

    Attributes:
      conv, norm: module paths.
      epsilon: of the normalization.
      transposed_groups: groups of a transposed convolution, None for any other.
      transpose_kernel: its kernel has the input channels last.
      types: class of the convolution and of the modules around it, innermost first.
    """

    conv: Path
    norm: Path
    epsilon: float
    transposed_groups: int | None = None
    transpose_kernel: bool = False
    types: tuple[type, ...] = ()


@dataclasses.dataclass(frozen=True)
class Fusion:
    """Everything that was found in a model; a frozen value.

    Attributes:
      pairs: in execution order.
      marks: activation behind a layer, by the path of the layer (of the convolution, for a pair).
    """

    pairs: tuple[FusedPair, ...] = ()
    marks: tuple[tuple[Path, ActivationType], ...] = ()

    def mark(self, path: Path) -> ActivationType | None:
        """The activation behind the layer at ``path``, or None."""
        return dict(self.marks).get(path)


NOTHING_FUSED = Fusion()


def fuse(graph: Graph, pairs: tuple[FusedPair, ...]) -> Graph:
    """The graph with each pair as one node, at the place of its normalization.

    A pair whose normalization is folded already becomes a plain convolution, any other a ``conv_bn`` node.

    Args:
      graph: a recognised graph, bodies included.
      pairs: as found by ``find_fusion``, perhaps on another call of the model.

    Raises:
      PlanError: this call uses the two layers of a pair in another way than the call that was traced.
    """
    by_conv = {pair.conv: pair for pair in pairs}
    merged: set[Path] = set()
    graph = _fuse_region(graph, by_conv, merged)
    apart = {node.layer.path for node in graph.walk() if node.layer is not None and not _is_merged(node)}
    for pair in pairs:
        if pair.conv in apart or pair.norm in apart:
            raise PlanError(_not_as_traced(pair))
    return graph


def remark_of(node: Node) -> str:
    """What the coverage table says of a convolution that holds a normalization."""
    return f"holds {'.'.join(node.attributes[HOLDS])}" if HOLDS in node.attributes else ""


def _fuse_region(graph: Graph, pairs: Mapping[Path, FusedPair], merged: set[Path]) -> Graph:
    nodes = list(graph.nodes)
    uses = Uses(graph, nodes)
    result: list[Node] = []
    dropped: set[int] = set()
    replaced: dict[int, Node] = {}
    for index, node in enumerate(nodes):
        pair = pairs.get(node.layer_info.path) if node.layer is not None and node.op != LOST else None
        if pair is None or pair.conv in merged:
            continue
        output = node.outputs[node.layer_info.results.index(("output", "0"))]
        at = next((i for i, n in enumerate(nodes) if output in n.inputs), None)
        norm = None if at is None else nodes[at]
        if (
            at is None
            or norm is None
            or norm.layer is None
            or norm.layer.path != pair.norm
            or uses.readers[output] != 1
        ):
            continue
        merged.add(pair.conv)
        dropped.add(index)
        replaced[at] = _folded(node, norm) if norm.layer.kind == FOLDED_NORM else _conv_bn(node, norm)
    for index, node in enumerate(nodes):
        if index in dropped:
            continue
        node = replaced.get(index, node)
        if node.body is not None:
            node = dataclasses.replace(node, body=_fuse_region(node.body, pairs, merged))
        result.append(node)
    return dataclasses.replace(graph, nodes=tuple(result))


def _is_merged(node: Node) -> bool:
    return node.kind == CONV_BN or HOLDS in node.attributes


def _folded(conv: Node, norm: Node) -> Node:
    return dataclasses.replace(conv, outputs=norm.outputs, attributes={**conv.attributes, HOLDS: norm.layer_info.path})


def _conv_bn(conv: Node, norm: Node) -> Node:
    """One node with the operands of both; their roles begin with ``conv`` and ``norm``, the input's does not."""
    a, b = conv.layer, norm.layer
    assert a is not None
    assert b is not None
    entries = [(role, atom) for role, atom in zip(b.operands, norm.inputs, strict=True) if role[0] != "input"]
    assert not any(isinstance(atom, Constant) for _, atom in entries)
    info = LayerInfo(
        kind=CONV_BN,
        type_name=f"{a.type_name}+{b.type_name}",
        module_type=a.module_type,
        path=a.path,
        attributes={**b.attributes, "transpose_kernel": a.attributes["transpose_kernel"], "conv": a},
        operands=(
            *(role if role[0] == "input" else ("conv", *role) for role in a.operands),
            *(("norm", *role) for role, _ in entries),
        ),
        results=b.results,
        visit=a.visit,
    )
    return dataclasses.replace(
        conv,
        op=CONV_BN.name,
        layer=info,
        inputs=(*conv.inputs, *(atom for _, atom in entries)),
        outputs=norm.outputs,
        run=None,
    )


def _not_as_traced(pair: FusedPair) -> str:
    conv, norm = ".".join(pair.conv), ".".join(pair.norm)
    return (
        f"{conv!r} and {norm!r} are fused, but in this call {norm!r} is not the only reader of what {conv!r} returns, "
        "or one of the two runs alone or twice. Trace the model (linger_jax.trace_layers) with this kind of call "
        "(method, arguments), or leave the pair out of the fusion with fuse_bn=False"
    )

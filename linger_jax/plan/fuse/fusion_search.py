"""Finding what ``trace_layers`` fuses and marks, by data flow on the recognised graph.

A step is *behind* another when it reads the very value
that the other returns and nothing else does.

Source: docs/specification/layers.md section 5.3.
"""

from __future__ import annotations

from collections import Counter

from linger_jax.compat import SCAN
from linger_jax.config import ActivationType
from linger_jax.kinds import BATCH_NORM, CONV_TRANSPOSE, RELU, SIGMOID
from linger_jax.plan.fuse.fusion import FusedPair, Fusion
from linger_jax.plan.graph import LOST, SCAN_ID, Constant, Graph, Node, Scan, Uses, ValueInfo
from linger_jax.staging import LAYERS, LayerInfo
from linger_jax.typing import Path

_MARKS = {
    name: mark
    for kind, mark in ((RELU, ActivationType.Relu), (SIGMOID, ActivationType.Sigmoid))
    for name in (kind.name, *kind.nodes)
}
# ConvBN pads with zeros: a convolution that repeats or mirrors its borders keeps its normalization apart.
_PADDINGS_WITH_VALUES = ("CIRCULAR", "REFLECT")


def find_fusion(graph: Graph, *, fuse_bn: bool = True) -> Fusion:
    """Pairs and marks of a model.

    Args:
      graph: the recognised graph of one call.
      fuse_bn: whether to look for pairs; otherwise only for marks.
    """
    calls = Counter(node.layer.path for node in graph.walk() if node.layer is not None)
    once = frozenset(path for path, count in calls.items() if count == 1)
    pairs: list[FusedPair] = []
    marks: dict[Path, ActivationType] = {}
    _search(graph, (), once, fuse_bn, pairs, marks)
    return Fusion(tuple(pairs), tuple(marks.items()))


def _search(
    graph: Graph,
    scans: tuple[Scan, ...],
    once: frozenset[Path],
    fuse_bn: bool,
    pairs: list[FusedPair],
    marks: dict[Path, ActivationType],
) -> None:
    uses = Uses(graph, list(graph.nodes))
    readers = {a: n for n in graph.nodes for a in n.inputs if not isinstance(a, Constant)}
    held: dict[Path, Path] = {}
    for node in graph.nodes:
        if node.body is not None:
            inside = (*scans, node.attributes[SCAN_ID]) if node.op == SCAN else scans
            _search(node.body, inside, once, fuse_bn, pairs, marks)
        info = node.layer
        if info is None or node.op == LOST or info.path not in once or not _has_own_variables(node, graph, scans):
            continue
        output = node.outputs[info.results.index(("output", "0"))]
        if uses.readers[output] != 1 or output not in readers:
            continue
        behind = readers[output]
        if fuse_bn and _is_pair(info, behind, once) and _has_own_variables(behind, graph, scans):
            assert behind.layer is not None
            held[behind.layer.path] = info.path
            pairs.append(_pair(node, info, behind.layer))
        elif info.kind.is_marked:
            mark = _mark(behind)
            allowed = (ActivationType.Relu,) if _is_free_norm(info, held) else tuple(_MARKS.values())
            if mark in allowed:
                assert mark is not None
                marks[held.get(info.path, info.path)] = mark


def _is_free_norm(info: LayerInfo, held: dict[Path, Path]) -> bool:
    return info.kind == BATCH_NORM and info.path not in held


def _mark(node: Node) -> ActivationType | None:
    name = str(node.attributes.get("name")) if node.op == "jit" else node.op
    return _MARKS.get(name)


def _is_pair(conv: LayerInfo, behind: Node, once: frozenset[Path]) -> bool:
    norm = behind.layer
    return (
        conv.kind.takes_norm
        and conv.module_type in LAYERS
        and conv.refusal is None
        and conv.attributes["padding"] not in _PADDINGS_WITH_VALUES
        and norm is not None
        and norm.kind == BATCH_NORM
        and norm.refusal is None
        and norm.path in once
    )


def _has_own_variables(node: Node, graph: Graph, scans: tuple[Scan, ...]) -> bool:
    """Whether the layer gets its variables as they are stored, in a loop those of its own iteration.

    Anything else is one module that runs several times, or numbers that are no variable of the layer's.
    """
    for atom, role in zip(node.inputs, node.layer_info.operands, strict=True):
        if role[0] == "input":
            continue
        info: ValueInfo | None = None if isinstance(atom, Constant) else graph.infos[atom]
        if info is None or not info.direct or info.stack != scans:
            return False
    return True


def _pair(node: Node, conv: LayerInfo, norm: LayerInfo) -> FusedPair:
    return FusedPair(
        conv=conv.path,
        norm=norm.path,
        epsilon=norm.attributes["epsilon"],
        transposed_groups=int(conv.attributes["groups"]) if conv.kind == CONV_TRANSPOSE else None,
        transpose_kernel=bool(conv.attributes["transpose_kernel"]),
        types=(conv.module_type, *node.owner.module_types),
    )

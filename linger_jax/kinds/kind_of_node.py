"""Every kind by the names that a plan's nodes have for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from linger_jax.kinds.kind import Kind
from linger_jax.kinds.layers import LAYERS
from linger_jax.kinds.operator_kinds import OPERATORS
from linger_jax.kinds.passing_kinds import PASSING


def _by_node(kinds: Iterable[Kind]) -> Mapping[str, Kind]:
    found: dict[str, Kind] = {}
    for kind in kinds:
        for node in kind.nodes:
            if node in found:
                raise TypeError(f"the plan's name {node!r} means both {found[node].name} and {kind.name}")
            found[node] = kind
    return found


KINDS: tuple[Kind, ...] = (*LAYERS, *OPERATORS, *PASSING)
KIND_OF_NODE: Mapping[str, Kind] = _by_node(KINDS)

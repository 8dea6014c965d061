"""Who makes and who reads the values of a graph."""

from __future__ import annotations

from collections import Counter

from linger_jax.plan.graph.graph import Atom, Constant, Graph, Node, ValueId


class Uses:
    """Who makes and who reads each value of a graph."""

    def __init__(self, graph: Graph, nodes: list[Node]) -> None:
        self.infos = graph.infos
        self.maker: dict[ValueId, int] = {}
        self.readers: Counter[ValueId] = Counter()
        for index, node in enumerate(nodes):
            for value in node.outputs:
                self.maker[value] = index
            self.readers.update(a for a in set(node.inputs) if not isinstance(a, Constant))
        self.readers.update(a for a in graph.outputs if not isinstance(a, Constant))

    def maker_of(self, atom: Atom) -> int | None:
        """Index of the node that makes ``atom``; None for constants and inputs of the graph."""
        return None if isinstance(atom, Constant) else self.maker.get(atom)

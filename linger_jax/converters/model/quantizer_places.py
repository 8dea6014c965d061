"""Where a plan keeps quantizer state: the places of layers, operators and pools, in the order of execution."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from linger_jax.plan import Node, Plan, Quantizer
from linger_jax.typing import Path

# Begins the names that linger_jax and linger make up for operators and functions without a module.
MADE_UP = "_linger_"


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizerPlace:
    """A place with quantizers.

    Attributes:
      path: of the place; quantizers and entries follow.
      op: what it is in the plan.
      quantizers: by name below the place, as linger writes it (``input_quantizer.0``).
    """

    path: Path
    op: str
    quantizers: Mapping[str, Quantizer]

    @property
    def dotted(self) -> str:
        """Dotted path for messages and for linger."""
        return ".".join(self.path)

    @property
    def is_layer(self) -> bool:
        """Whether it belongs to a layer with parameters and a module of its own."""
        return not (self.path and self.path[-1].startswith(MADE_UP))

    @property
    def stack(self) -> tuple[int, ...]:
        """Leading axes of its state: lengths of the scans that iterate over it."""
        return next(iter(self.quantizers.values())).stack


def quantizer_places(plan: Plan) -> list[QuantizerPlace]:
    """Every place of a plan that has quantizers."""
    ops = {node.state_path: node.op for node in plan.graph.walk() if node.state_path is not None and _has_state(node)}
    found: dict[Path, dict[str, Quantizer]] = {}
    for path, quantizer in plan.quantizers.items():
        length = 2 if path[-1].isdigit() else 1
        found.setdefault(path[:-length], {})[".".join(path[-length:])] = quantizer
    return [QuantizerPlace(path, ops.get(path, "layer"), names) for path, names in found.items()]


def _has_state(node: Node) -> bool:
    return node.quantized

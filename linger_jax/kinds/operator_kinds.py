"""The quantized operators: what each is called, how the plan's nodes spell it, and where it has an integer kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from linger_jax.targets import Platform, target_of

_WITH_KERNELS = frozenset(platform for platform in Platform if target_of(platform).kernels is not None)
_GATED = frozenset(
    platform for platform in Platform if (own := target_of(platform).kernels) is not None and own.gelu_swish is not None
)
_FIXED = frozenset(platform for platform in Platform if target_of(platform).fixes_scale_of_sigmoid)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatorKind:
    """One operator of docs/specification/ops.md.

    Attributes:
      name: its name; its state is called ``_linger_qtensor_q<name>_<counter>`` (docs/specification/ops.md section 7).
      nodes: operators of the plan's nodes that are it.
      synonyms: other names that ``disable_ops`` takes.
      kernel: it is computed by an integer kernel; otherwise by the float operation on grid values.
      platforms: where that kernel exists (docs/specification/chip_kernels.md section 1); None for everywhere.
      fixed_scale_on: where its result lies at scale 2^(bits - 1), not at one that follows the data
        (docs/specification/ops.md section 5).
    """

    name: str
    nodes: tuple[str, ...]
    synonyms: tuple[str, ...] = ()
    kernel: bool = False
    platforms: frozenset[Platform] | None = None
    fixed_scale_on: frozenset[Platform] = frozenset()

    def runs_on(self, platform: Platform) -> bool:
        """Whether the platform can compute it."""
        return self.platforms is None or platform in self.platforms

    @property
    def stem(self) -> str:
        """Start of the name of its state."""
        return f"_linger_qtensor_q{self.name}"


OPERATORS: tuple[OperatorKind, ...] = (
    OperatorKind(name="add", nodes=("add",)),
    OperatorKind(name="mul", nodes=("mul", "scalar_division"), synonyms=("multiply",)),
    OperatorKind(name="matmul", nodes=("dot_general",), synonyms=("bmm", "einsum", "dot")),
    OperatorKind(name="cat", nodes=("concatenate", "stack"), synonyms=("concatenate", "concat", "stack")),
    OperatorKind(name="sigmoid", nodes=("logistic",), kernel=True, platforms=_WITH_KERNELS, fixed_scale_on=_FIXED),
    OperatorKind(name="tanh", nodes=("tanh",), kernel=True, platforms=_WITH_KERNELS, fixed_scale_on=_FIXED),
    OperatorKind(name="gelu", nodes=("gelu",), kernel=True, platforms=_GATED),
    OperatorKind(name="swish", nodes=("silu",), synonyms=("silu",), kernel=True, platforms=_GATED),
    OperatorKind(name="softmax", nodes=("softmax",), kernel=True, platforms=_WITH_KERNELS),
)

KIND_OF_NODE: Mapping[str, OperatorKind] = {node: kind for kind in OPERATORS for node in kind.nodes}
OPERATOR_NAMES: Mapping[str, OperatorKind] = {name: kind for kind in OPERATORS for name in (kind.name, *kind.synonyms)}
"""Every name that ``disable_ops`` takes."""

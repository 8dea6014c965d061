"""What ``trace_layers`` finds, as a value: layers that are computed together, and activations behind layers."""

from __future__ import annotations

import dataclasses

from linger_jax.config import ActivationType
from linger_jax.staging.marker import Path


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

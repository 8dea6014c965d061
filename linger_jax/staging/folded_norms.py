"""Batch normalizations that a model no longer runs because the convolution before each of them holds their numbers."""

from __future__ import annotations

import dataclasses

from linger_jax.typing import Path


@dataclasses.dataclass(frozen=True)
class FoldedNorms:
    """How a model is staged whose variables hold folded convolutions (docs/specification/layers.md section 5.1).

    Attributes:
      convs: paths of the convolutions; each has a bias, whatever the module says.
      norms: paths of the normalizations; each returns its input and reads no variables.
    """

    convs: frozenset[Path] = frozenset()
    norms: frozenset[Path] = frozenset()


NOTHING_FOLDED = FoldedNorms()

"""Names of types that many rooms use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

Path = tuple[str, ...]
"""Place in a tree of modules or variables: ``("block", "conv1", "output_quantizer")``."""
Shape = tuple[int, ...]
HostArray = npt.NDArray[Any]
"""An array of NumPy, in the memory of the host."""
Variables = Mapping[str, Any]
"""Collections of a Flax model: ``params``, ``batch_stats``, ``quant``..."""
Tree = dict[str, Any]
"""A nested dict of arrays, to be filled or changed."""

"""What a loop returns of each iteration, once the loop is written out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linger_jax.export.lower.emitter import Emitter
from linger_jax.export.lower.exported_values import Exported, Known, Laid, natural


def stacked_floats(emit: Emitter, parts: Sequence[Exported]) -> Exported:
    """Results of all iterations on a new leading axis: floats, since no single scale describes them."""
    if all(isinstance(part, Known) for part in parts):
        return Known(np.stack([part.array for part in parts if isinstance(part, Known)]))
    tensors = []
    for part in parts:
        value = _tensor(emit, part)
        shape = (1, *value.shape)
        axes = natural(len(shape))
        tensors.append(emit.moved("Unsqueeze", value, {"axes": [0]}, shape=shape, axes=axes, image=False))
    first = tensors[0]
    others = [t.tensor for t in tensors[1:]]
    return emit.moved("Concat", first, {"axis": 0}, others, shape=(len(parts), *first.shape[1:]))


def _tensor(emit: Emitter, part: Exported) -> Laid:
    if isinstance(part, Laid):
        return emit.in_flax_order(part)
    tensor = emit.graph.constant("constant", part.array.astype(np.float32))
    return Laid(tensor, part.shape, natural(len(part.shape)), np.dtype(np.float32))

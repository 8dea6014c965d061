"""What a loop returns of each iteration, once the loop is written out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linger_jax.export.lower.emitter import Emitter
from linger_jax.export.lower.exported_values import ExportedValue, HostValue, TensorValue, flax_order


def stacked_floats(emit: Emitter, parts: Sequence[ExportedValue]) -> ExportedValue:
    """Results of all iterations on a new leading axis: floats, since no single scale describes them."""
    if all(isinstance(part, HostValue) for part in parts):
        return HostValue(np.stack([part.array for part in parts if isinstance(part, HostValue)]))
    tensors = []
    for part in parts:
        value = _tensor(emit, part)
        shape = (1, *value.shape)
        axes = flax_order(len(shape))
        tensors.append(emit.moved("Unsqueeze", value, {"axes": [0]}, shape=shape, axes=axes, image=False))
    first = tensors[0]
    others = [t.tensor for t in tensors[1:]]
    return emit.moved("Concat", first, {"axis": 0}, others, shape=(len(parts), *first.shape[1:]))


def _tensor(emit: Emitter, part: ExportedValue) -> TensorValue:
    if isinstance(part, TensorValue):
        return emit.in_flax_order(part)
    tensor = emit.graph.constant("constant", part.array.astype(np.float32))
    return TensorValue(tensor, part.shape, flax_order(len(part.shape)), np.dtype(np.float32))

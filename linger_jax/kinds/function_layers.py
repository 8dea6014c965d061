"""Layers whose computation is a function: recurrent cells, gates, pools, and what drops or bends single values."""

from __future__ import annotations

import dataclasses

from linger_jax.kinds.kind import IN_FLAX_ORDER, OF_EACH_NUMBER, OF_IMAGES
from linger_jax.kinds.layer_kind import INPUT, OUTPUT, LayerKind, TorchSort, bias_of
from linger_jax.kinds.operator_kinds import SIGMOID, TANH
from linger_jax.kinds.recurrent_cells import GRU_CELL, LSTM_CELL

_NO_WEIGHTS = "no weights"
_NOTHING_TO_CLIP = "nothing to clip"

# Their quantizers depend on the number of directions (plan/decide/recurrent_quantizers.py).
LSTM = LayerKind(
    name="lstm",
    nodes=("lstm",),
    passes=False,
    file=IN_FLAX_ORDER,
    quantizers=(),
    cell=LSTM_CELL,
    kernels=(SIGMOID, TANH),
    batchable=False,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=TorchSort.lstm,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=None,
)

GRU = LayerKind(
    name="gru",
    nodes=("gru",),
    passes=False,
    file=IN_FLAX_ORDER,
    quantizers=(),
    cell=GRU_CELL,
    kernels=(SIGMOID, TANH),
    batchable=False,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=TorchSort.gru,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=None,
)

GLU = LayerKind(
    name="glu",
    nodes=("glu",),
    passes=False,
    file=IN_FLAX_ORDER,
    quantizers=(INPUT, dataclasses.replace(bias_of(None), name="sigmoid"), OUTPUT),
    cell=None,
    kernels=(SIGMOID,),
    batchable=False,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=None,
    float_because=None,
    unconstrained_because=_NOTHING_TO_CLIP,
    no_torch_weights=_NO_WEIGHTS,
)

AVG_POOL = LayerKind(
    name="avg_pool",
    nodes=("avg_pool",),
    passes=False,
    file=OF_IMAGES,
    quantizers=(INPUT, OUTPUT),
    cell=None,
    kernels=(),
    batchable=False,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=None,
    float_because=None,
    unconstrained_because=_NOTHING_TO_CLIP,
    no_torch_weights=_NO_WEIGHTS,
)

DROPOUT = LayerKind(
    name="dropout",
    nodes=("dropout",),
    passes=True,
    file=OF_EACH_NUMBER,
    quantizers=(),
    cell=None,
    kernels=(),
    batchable=True,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=None,
    float_because=None,
    unconstrained_because=_NOTHING_TO_CLIP,
    no_torch_weights=_NO_WEIGHTS,
)

PRELU = LayerKind(
    name="prelu",
    nodes=("prelu",),
    passes=False,
    file=IN_FLAX_ORDER,
    quantizers=(),
    cell=None,
    kernels=(),
    batchable=False,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=None,
    float_because="no kernel on the target chips",
    unconstrained_because="no constrained form",
    no_torch_weights="a weight that is filled by its key only",
)

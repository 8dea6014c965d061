"""Normalizations, alone and together with the convolution in front of them."""

from __future__ import annotations

import dataclasses

from linger_jax.kinds.kind import IN_FLAX_ORDER, OF_TWO_VALUES, ImageUse
from linger_jax.kinds.layer_kind import INPUT, OUTPUT, LayerKind, TorchSort, bias_of, weight_of

_NO_KERNEL = "no kernel on the target chips"
_NO_CONSTRAINED_FORM = "no constrained form"

# Its weight and bias quantizers act on the folded scale and shift, which are no parameters.
BATCH_NORM = LayerKind(
    name="batch_norm",
    nodes=("batch_norm",),
    passes=False,
    file=dataclasses.replace(OF_TWO_VALUES, image=ImageUse.reads_planes),
    quantizers=(INPUT, weight_of(None), bias_of(None), OUTPUT),
    cell=None,
    kernels=(),
    batchable=False,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=True,
    kernel_order=None,
    torch_sort=TorchSort.batch_norm,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=None,
)

LAYER_NORM = LayerKind(
    name="layer_norm",
    nodes=("layer_norm",),
    passes=False,
    file=IN_FLAX_ORDER,
    quantizers=(INPUT, weight_of("scale"), bias_of("bias"), OUTPUT),
    cell=None,
    kernels=(),
    batchable=True,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=TorchSort.norm,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=None,
)

GROUP_NORM = LayerKind(
    name="group_norm",
    nodes=("group_norm",),
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
    torch_sort=TorchSort.norm,
    float_because=_NO_KERNEL,
    unconstrained_because=_NO_CONSTRAINED_FORM,
    no_torch_weights=None,
)

RMS_NORM = LayerKind(
    name="rms_norm",
    nodes=("rms_norm",),
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
    torch_sort=TorchSort.norm,
    float_because=_NO_KERNEL,
    unconstrained_because=_NO_CONSTRAINED_FORM,
    no_torch_weights=None,
)

INSTANCE_NORM = LayerKind(
    name="instance_norm",
    nodes=("instance_norm",),
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
    torch_sort=TorchSort.norm,
    float_because=_NO_KERNEL,
    unconstrained_because=_NO_CONSTRAINED_FORM,
    no_torch_weights=None,
)

# The marker of a normalization whose numbers the convolution in front of it holds; plan/fuse joins the two.
FOLDED_NORM = LayerKind(
    name="folded_norm",
    nodes=("folded_norm",),
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
    float_because="nothing of its own to compute",
    unconstrained_because="nothing of its own to clip",
    no_torch_weights="no weights",
)

# A convolution and its normalization as one float layer (plan/fuse); folded it is a plain convolution.
CONV_BN = LayerKind(
    name="conv_bn",
    nodes=("conv_bn",),
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
    torch_sort=TorchSort.product,
    float_because="a quantized form only once it is folded",
    unconstrained_because=None,
    no_torch_weights="the weights of two modules; the model is filled before it is fused",
)

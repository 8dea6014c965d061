"""The layers that multiply with a parameter or look one up, and the list of all layer kinds."""

from __future__ import annotations

import dataclasses

from linger_jax.kinds.function_layers import AVG_POOL, DROPOUT, GLU, GRU, LSTM, PRELU
from linger_jax.kinds.kind import IN_FLAX_ORDER, OF_IMAGES, ImageUse
from linger_jax.kinds.layer_kind import (
    INPUT,
    OUTPUT,
    KernelOrder,
    LayerKind,
    QuantizerRole,
    TorchSort,
    bias_of,
    weight_of,
)
from linger_jax.kinds.norm_layers import (
    BATCH_NORM,
    CONV_BN,
    FOLDED_NORM,
    GROUP_NORM,
    INSTANCE_NORM,
    LAYER_NORM,
    RMS_NORM,
)

KERNEL = weight_of("kernel")
BIAS, BIAS_IF_GIVEN = bias_of("bias"), bias_of("bias", if_given=True)
NO_MODULE = "no module of its own in PyTorch"

DENSE = LayerKind(
    name="dense",
    nodes=("dense",),
    passes=False,
    file=IN_FLAX_ORDER,
    quantizers=(INPUT, KERNEL, OUTPUT, BIAS_IF_GIVEN),
    cell=None,
    kernels=(),
    batchable=True,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=True,
    kernel_order=KernelOrder.matrix,
    torch_sort=TorchSort.product,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=None,
)

EINSUM = LayerKind(
    name="einsum",
    nodes=("einsum",),
    passes=False,
    file=IN_FLAX_ORDER,
    quantizers=(INPUT, KERNEL, BIAS_IF_GIVEN, OUTPUT),
    cell=None,
    kernels=(),
    batchable=False,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=TorchSort.product,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=NO_MODULE,
)

CONV = LayerKind(
    name="conv",
    nodes=("conv",),
    passes=False,
    file=OF_IMAGES,
    quantizers=(INPUT, KERNEL, BIAS, OUTPUT),
    cell=None,
    kernels=(),
    batchable=True,
    looks_up=False,
    outside_modules=False,
    takes_norm=True,
    is_marked=True,
    kernel_order=KernelOrder.convolution,
    torch_sort=TorchSort.product,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=None,
)

CONV_TRANSPOSE = LayerKind(
    name="conv_transpose",
    nodes=("conv_transpose",),
    passes=False,
    file=OF_IMAGES,
    quantizers=(INPUT, KERNEL, BIAS, OUTPUT),
    cell=None,
    kernels=(),
    batchable=True,
    looks_up=False,
    outside_modules=False,
    takes_norm=True,
    is_marked=True,
    kernel_order=KernelOrder.transposed_convolution,
    torch_sort=TorchSort.product,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=None,
)

CUSTOM_LINEAR = LayerKind(
    name="custom_linear",
    nodes=("custom_linear",),
    passes=False,
    file=IN_FLAX_ORDER,
    quantizers=(INPUT, KERNEL, BIAS_IF_GIVEN, OUTPUT),
    cell=None,
    kernels=(),
    batchable=False,
    looks_up=False,
    outside_modules=True,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=TorchSort.product,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=NO_MODULE,
)

CUSTOM_CONV = LayerKind(
    name="custom_conv",
    nodes=("custom_conv",),
    passes=False,
    file=dataclasses.replace(IN_FLAX_ORDER, image=ImageUse.by_its_axes),
    quantizers=(INPUT, KERNEL, BIAS_IF_GIVEN, OUTPUT),
    cell=None,
    kernels=(),
    batchable=False,
    looks_up=False,
    outside_modules=True,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=TorchSort.product,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=NO_MODULE,
)

EMBED = LayerKind(
    name="embed",
    nodes=("embed",),
    passes=False,
    file=IN_FLAX_ORDER,
    quantizers=(weight_of("embedding"), BIAS),
    cell=None,
    kernels=(),
    batchable=True,
    looks_up=True,
    outside_modules=False,
    takes_norm=False,
    is_marked=False,
    kernel_order=None,
    torch_sort=TorchSort.product,
    float_because=None,
    unconstrained_because=None,
    no_torch_weights=None,
)

# Bounds of the quantized block's weights in multiples of their mean magnitude: docs/specification/layers.md section 11.
_FACTORS = {"fc1": 3.0, "fc2": 3.0, "mask": 7.0}


def _own(role: QuantizerRole) -> QuantizerRole:
    """A quantizer of SparifyFFN: named after its parameter, with a bound of its own whatever the configuration says."""
    assert role.parameter is not None
    _, product = role.parameter.split("_")
    factor = _FACTORS[product] if role.acts_on == "weight" else None
    return dataclasses.replace(role, name=role.parameter, configured=False, factor=factor)


SPARIFY_FFN = LayerKind(
    name="sparify_ffn",
    nodes=("sparify_ffn",),
    passes=False,
    file=dataclasses.replace(
        IN_FLAX_ORDER,
        refused_because=(
            "which of its hidden units count depends on the data, and the field has no operator for that; it trains "
            "here, and linger_jax runs it. For a file put two Dense layers with a relu in its place"
        ),
    ),
    quantizers=(
        INPUT,
        *(_own(weight_of(f"weight_{product}")) for product in _FACTORS),
        *(_own(bias_of(f"bias_{product}", if_given=True)) for product in _FACTORS),
        *(dataclasses.replace(INPUT, name=f"out{product}", acts_on="inner") for product in ("fc1", "mask")),
        OUTPUT,
    ),
    cell=None,
    kernels=(),
    batchable=False,
    looks_up=False,
    outside_modules=False,
    takes_norm=False,
    is_marked=False,
    kernel_order=KernelOrder.matrix,
    torch_sort=TorchSort.sparify_ffn,
    float_because=None,
    unconstrained_because="no constrained form",
    no_torch_weights=None,
)

LAYERS = (
    *(DENSE, EINSUM, CONV, CONV_TRANSPOSE, CUSTOM_LINEAR, CUSTOM_CONV, EMBED, SPARIFY_FFN),
    *(BATCH_NORM, LAYER_NORM, GROUP_NORM, RMS_NORM, INSTANCE_NORM, FOLDED_NORM, CONV_BN),
    *(LSTM, GRU, GLU, AVG_POOL, DROPOUT, PRELU),
)
"""Every layer kind."""

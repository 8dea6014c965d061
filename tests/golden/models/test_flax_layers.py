"""The Flax layer built for a file's arguments computes what the PyTorch layer of these arguments computes."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from tests.golden.models import torch_layout as layout
from tests.golden.models.flax_layers import Call, OneLayer, build_layer
from tests.golden.models.torch_arguments import overhang
from tests.golden.outcome import NotSupportedError

torch = pytest.importorskip("torch")

CASES = [
    ("Linear", {"in_features": 5, "out_features": 7, "bias": False}, (2, 3, 5)),
    ("Conv1d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 2, "groups": 2}, (2, 4, 9)),
    ("Conv1d", {"in_channels": 3, "out_channels": 4, "kernel_size": 3, "dilation": 2, "padding": 2}, (2, 3, 9)),
    (
        "Conv2d",
        {"in_channels": 4, "out_channels": 4, "kernel_size": [3, 2], "padding": [1, 0], "groups": 4},
        (2, 4, 6, 7),
    ),
    *[
        (
            "Conv2d",
            {"in_channels": 2, "out_channels": 3, "kernel_size": 3, "padding": p, "padding_mode": mode},
            (1, 2, 6, 5),
        )
        for mode in ("reflect", "circular", "replicate")
        for p in (1, 2)
    ],
    ("ConvTranspose1d", {"in_channels": 4, "out_channels": 3, "kernel_size": 4, "stride": 2, "padding": 1}, (2, 4, 5)),
    (
        "ConvTranspose2d",
        {"in_channels": 3, "out_channels": 2, "kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
        (2, 3, 4, 5),
    ),
    ("ConvTranspose1d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 2, "groups": 2}, (2, 4, 5)),
    ("ConvTranspose2d", {"in_channels": 3, "out_channels": 2, "kernel_size": [2, 3], "dilation": [2, 1]}, (2, 3, 4, 5)),
    ("LayerNorm", {"normalized_shape": [4, 6], "eps": 1e-3}, (3, 4, 6)),
    ("LayerNorm", {"normalized_shape": 6, "elementwise_affine": False}, (3, 4, 6)),
    ("MaxPool1d", {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 3, 9)),
    ("MaxPool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, (1, 2, 8, 7)),
    ("MaxPool2d", {"kernel_size": 2, "stride": 1, "dilation": [2, 3]}, (1, 2, 8, 7)),
    ("AvgPool1d", {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 3, 9)),
    ("AvgPool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, (1, 2, 8, 9)),
    (
        "AvgPool2d",
        {"kernel_size": [3, 4], "stride": [1, 2], "padding": [1, 2], "count_include_pad": False},
        (1, 2, 5, 8),
    ),
    ("AvgPool2d", {"kernel_size": 3, "stride": 2, "ceil_mode": True, "count_include_pad": False}, (1, 2, 8, 8)),
    ("AvgPool2d", {"kernel_size": 3, "stride": 1, "divisor_override": 5}, (1, 2, 6, 6)),
    ("AdaptiveAvgPool2d", {"output_size": [1, 1]}, (2, 3, 4, 8)),
    ("ReLU6", {}, (3, 5)),
]


@pytest.mark.parametrize(("op", "ctor", "shape"), CASES, ids=[f"{i} {c[0]}" for i, c in enumerate(CASES)])
def test_the_float_layer_agrees_with_pytorch(op, ctor, shape):
    reference = getattr(torch.nn, op)(**ctor)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    wanted = reference(torch.from_numpy(x)).detach().numpy()
    last = layout.to_channels_last(op, x)
    layer = build_layer(op, ctor, Call(last.shape, training=True))
    groups = ctor.get("groups", 1)
    values = {
        layout.parameter_name(op, name): layout.to_kernel(op, p.detach().numpy(), groups)
        if name == "weight"
        else p.detach().numpy()
        for name, p in reference.named_parameters()
    }
    params = jax.eval_shape(OneLayer(layer).init, jax.random.key(0), last).get("params", {})
    filled = jax.tree_util.tree_map_with_path(lambda path, leaf: values[path[-1].key].reshape(leaf.shape), params)
    got = layout.to_channels_first(op, np.asarray(OneLayer(layer).apply({"params": filled}, last)))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "ctor", "shape"),
    [
        ("AvgPool2d", {"kernel_size": 3, "stride": 2, "ceil_mode": True}, (1, 8, 8, 2)),
        ("AdaptiveAvgPool2d", {"output_size": 2}, (1, 8, 8, 2)),
        ("Conv2d", {"in_channels": 2, "out_channels": 2, "kernel_size": 3, "padding": "same"}, (1, 8, 8, 2)),
        ("Linear", {"in_features": 2, "out_features": 2, "wavelength": 3}, (1, 2)),
        ("Bilinear", {}, (1, 2)),
    ],
)
def test_what_flax_cannot_express_is_not_supported(op, ctor, shape):
    with pytest.raises(NotSupportedError, match=op):
        build_layer(op, ctor, Call(shape, training=True))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("op", ["Conv2d", "ConvTranspose2d"])
def test_kernels_travel_there_and_back(op, groups):
    weight = np.arange(4 * 6 * 3 * 2, dtype=np.float32).reshape(4, 6, 3, 2)
    np.testing.assert_array_equal(layout.from_kernel(op, layout.to_kernel(op, weight, groups), groups), weight)


def test_the_overhang_is_pytorchs():
    for extent in range(4, 12):
        for kernel, stride, padding in [(3, 2, 1), (3, 2, 0), (2, 2, 1), (4, 3, 2), (3, 1, 1)]:
            pool = torch.nn.MaxPool1d(kernel, stride, padding, ceil_mode=True)
            windows = pool(torch.zeros(1, 1, extent)).shape[-1]
            beyond = overhang(extent, kernel, stride, padding, ceil_mode=True)
            assert (extent + 2 * padding + beyond - kernel) // stride + 1 == windows

"""The builder of device cases computes what PyTorch computes, for networks that no file describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax import converters
from tests.golden.device.network import DeviceNet, flax_input
from tests.golden.outcome import NotSupportedError

torch = pytest.importorskip("torch")

FUNCTIONS = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "bmm": torch.bmm,
    "matmul": torch.matmul,
    "cat": lambda *given, dim: torch.cat(given, dim),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
    "relu": torch.relu,
    "softmax": torch.softmax,
    "reshape": torch.reshape,
    "flatten": lambda x, start: torch.flatten(x, start),
    "transpose": torch.transpose,
    "permute": torch.permute,
    "squeeze": torch.squeeze,
    "unsqueeze": torch.unsqueeze,
    "select": torch.select,
    "split": lambda x, sizes, dim: torch.split(x, sizes, dim),
    "pad": lambda x, pad: torch.nn.functional.pad(x, pad),
    "item": lambda values, index: values[index],
}


class TorchNet(torch.nn.Module):
    def __init__(self, arch: Mapping[str, Any]) -> None:
        super().__init__()
        self.arch = arch
        for node in arch["nodes"]:
            if node["op"] not in FUNCTIONS:
                self.add_module(node["id"], getattr(torch.nn, node["op"])(**node["args"]))

    def forward(self, *inputs: Any) -> Any:
        known = dict(zip([described["name"] for described in self.arch["inputs"]], inputs, strict=True))
        for node in self.arch["nodes"]:
            run = FUNCTIONS.get(node["op"]) or getattr(self, node["id"])
            args = node["args"] if node["op"] in FUNCTIONS else {}
            known[node["id"]] = run(*(known[name] for name in node["in"]), **args)
        return known[self.arch["output"]]


def network(inputs: Mapping[str, tuple[int, ...]], *nodes: tuple[str, str, str, dict[str, Any]]) -> dict[str, Any]:
    """``arch`` of a ``case.json``; the last node is the output."""
    described = [{"id": name, "op": op, "in": given.split(), "args": args} for name, op, given, args in nodes]
    entering = [{"name": name, "shape": list(shape)} for name, shape in inputs.items()]
    return {"inputs": entering, "nodes": described, "output": nodes[-1][0]}


IMAGES = network(
    {"x": (1, 4, 9, 8)},
    (
        "c1",
        "Conv2d",
        "x",
        {
            "in_channels": 4,
            "out_channels": 8,
            "kernel_size": [3, 2],
            "padding": [2, 1],
            "dilation": 2,
            "groups": 2,
            "bias": False,
        },
    ),
    ("b1", "BatchNorm2d", "c1", {"num_features": 8, "affine": False, "eps": 1e-3}),
    ("r1", "relu", "b1", {}),
    (
        "c2",
        "Conv2d",
        "r1",
        {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1, "padding_mode": "replicate"},
    ),
    ("s1", "add", "r1 c2", {}),
    ("ct", "cat", "s1 c1", {"dim": -3}),
    (
        "p",
        "AvgPool2d",
        "ct",
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
    ),
    ("sp", "split", "p", {"sizes": [4, 12], "dim": -3}),
    ("i0", "item", "sp", {"index": 0}),
    ("i1", "item", "sp", {"index": -1}),
    ("se", "select", "i1", {"dim": -1, "index": -1}),
    ("sm", "softmax", "se", {"dim": -2}),
    ("pd", "pad", "i0", {"pad": [1, 2, 0, 1]}),
    ("n", "LayerNorm", "pd", {"normalized_shape": [6, 8]}),
    ("mp", "MaxPool2d", "n", {"kernel_size": 2, "ceil_mode": True}),
    ("fl", "flatten", "mp", {"start": 1}),
    ("fs", "flatten", "sm", {"start": -2}),
    ("cc", "cat", "fl fs", {"dim": -1}),
    ("fc", "Linear", "cc", {"in_features": 108, "out_features": 5}),
)
TOKENS = network(
    {"ids": (1, 6), "x": (1, 3, 6)},
    ("e", "Embedding", "ids", {"num_embeddings": 11, "embedding_dim": 8, "padding_idx": 3}),
    (
        "c",
        "Conv1d",
        "x",
        {"in_channels": 3, "out_channels": 8, "kernel_size": 3, "padding": 2, "dilation": 2, "bias": False},
    ),
    ("t", "permute", "c", {"dims": [0, -1, 1]}),
    ("a", "cat", "e t", {"dim": -1}),
    ("r", "LSTM", "a", {"input_size": 16, "hidden_size": 6, "bidirectional": True, "batch_first": True}),
    ("y", "item", "r", {"index": 0}),
    ("n", "LayerNorm", "y", {"normalized_shape": [12]}),
    ("q", "Linear", "n", {"in_features": 12, "out_features": 12, "bias": False}),
    ("k", "transpose", "n", {"dim0": -1, "dim1": -2}),
    ("m", "bmm", "q k", {}),
    ("s", "softmax", "m", {"dim": -1}),
    ("o", "matmul", "s n", {}),
    ("z", "add", "o n", {}),
    ("la", "select", "z", {"dim": 1, "index": -1}),
    ("g", "sigmoid", "la", {}),
    ("mm", "mul", "g la", {}),
    ("f", "Linear", "mm", {"in_features": 12, "out_features": 4}),
)
TIME_MAJOR = network(
    {"x": (5, 1, 6)},
    ("r", "GRU", "x", {"input_size": 6, "hidden_size": 8, "bidirectional": True, "bias": False}),
    ("y", "item", "r", {"index": 0}),
    ("p", "permute", "y", {"dims": [1, 2, 0]}),
    ("c", "Conv1d", "p", {"in_channels": 16, "out_channels": 6, "kernel_size": 3, "groups": 2, "padding": 1}),
    ("u", "unsqueeze", "c", {"dim": -1}),
    (
        "d",
        "ConvTranspose2d",
        "u",
        {"in_channels": 6, "out_channels": 4, "kernel_size": [4, 1], "stride": [2, 1], "padding": [1, 0], "groups": 2},
    ),
    ("sq", "squeeze", "d", {"dim": -1}),
    ("sp", "split", "sq", {"sizes": 2, "dim": 1}),
    ("i0", "item", "sp", {"index": 0}),
    ("i1", "item", "sp", {"index": 1}),
    ("g", "tanh", "i0", {}),
    ("m", "mul", "g i1", {}),
    ("gg", "gelu", "m", {}),
    ("rs", "reshape", "gg", {"shape": [1, 4, -1]}),
    ("l", "Linear", "rs", {"in_features": 5, "out_features": 3}),
    ("w", "silu", "l", {}),
    ("fl", "flatten", "w", {"start": 1}),
    ("l2", "Linear", "fl", {"in_features": 12, "out_features": 2}),
)


@pytest.mark.parametrize("arch", [IMAGES, TOKENS, TIME_MAJOR], ids=["images", "tokens", "time major"])
def test_a_network_agrees_with_pytorch_and_goes_back(arch: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    given = [
        generator.integers(0, 11, entry["shape"], np.int32)
        if entry["name"] == "ids"
        else generator.normal(size=entry["shape"]).astype(np.float32)
        for entry in arch["inputs"]
    ]
    torch.manual_seed(0)
    module = TorchNet(arch).eval()
    with torch.no_grad():
        wanted = module(*(torch.from_numpy(array) for array in given)).numpy()
    inputs = tuple(flax_input(arch, entry["name"], x) for entry, x in zip(arch["inputs"], given, strict=True))
    model = DeviceNet(json.dumps(arch))
    variables, report = converters.from_torch(module.state_dict(), model, inputs)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, *inputs), wanted, rtol=1e-5, atol=1e-5)
    written = converters.to_torch(model, variables, inputs, mapping=report)
    assert all(torch.equal(value, written[key]) for key, value in module.state_dict().items() if "tracked" not in key)


def test_an_operator_behind_an_average_pool_is_counted() -> None:
    """A pool is a quantized layer whatever it reads (docs/specification/layers.md section 9)."""
    arch = network({"x": (1, 2, 4, 4)}, ("p", "AvgPool2d", "x", {"kernel_size": 2}), ("s", "sigmoid", "p", {}))
    _, results = DeviceNet(json.dumps(arch), observed=True).apply({}, jnp.zeros((1, 4, 4, 2)))
    assert list(results) == ["p", "_linger_qtensor_qsigmoid_0"]


@pytest.mark.parametrize(
    ("op", "args"), [("GELU", {"approximate": "tanh"}), ("flatten", {"start": 1, "end_dim": 2}), ("relu", {"x": 1})]
)
def test_arguments_that_the_builder_does_not_heed_are_refused(op: str, args: dict[str, Any]) -> None:
    arch = network({"x": (1, 2, 4, 4)}, ("f", op, "x", args))
    with pytest.raises(NotSupportedError):
        DeviceNet(json.dumps(arch)).apply({}, jnp.zeros((1, 2, 4, 4)))

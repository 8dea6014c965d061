"""The Flax model of a device case: one builder for everything that ``arch`` of a ``case.json`` can say.

The model is written as Flax code would be: images channels last, a flatten of the array as it lies in front of a Dense,
functions without a module. Layers carry PyTorch's names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from tests.golden.device import values as values
from tests.golden.device.values import Laid, channels_last
from tests.golden.models.flax_layers import LAYERS, Call, build_layer
from tests.golden.models.pooling_layers import POOLING
from tests.golden.models.torch_arguments import Arguments
from tests.golden.outcome import NotSupportedError

Node = Mapping[str, Any]

# Layers whose input is an image to PyTorch, and functions of one value that keep its axes.
_IMAGE_LAYERS = ("Conv", "BatchNorm", "MaxPool", "AvgPool", "AdaptiveAvgPool")
_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "relu": nn.relu,
    "ReLU": nn.relu,
    "relu6": nn.relu6,
    "ReLU6": nn.relu6,
    "sigmoid": nn.sigmoid,
    "Sigmoid": nn.sigmoid,
    "tanh": jnp.tanh,
    "Tanh": jnp.tanh,
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "GELU": lambda x: nn.gelu(x, approximate=False),
    "silu": nn.silu,
    "SiLU": nn.silu,
    "Dropout": lambda x: x,
    "Identity": lambda x: x,
}
_CELLS = {"LSTM": TorchLSTMCell, "GRU": TorchGRUCell}
# Functions that linger counts under a name when an operand is quantized (docs/specification/ops.md section 7).
COUNTED = {
    **{name: name for name in ("add", "mul", "matmul", "bmm", "cat", "sigmoid", "tanh", "gelu", "softmax")},
    "silu": "swish",
}
_ALWAYS_QUANTIZED = frozenset({"GELU", "SiLU", "Softmax"})
_KEEPS_FEATURES = frozenset({"relu", "ReLU", "relu6", "ReLU6", "Dropout", "Identity"})


class DeviceNet(nn.Module):
    """The network of a case.

    Attributes:
      arch: JSON text of ``arch``.
      observed: whether the results of all layers are returned too, by the name that linger gives them.
      fused: convolutions are fused with the normalization behind them, whose result is theirs then.
    """

    arch: str
    observed: bool = False
    fused: bool = False

    @nn.compact
    def __call__(self, *inputs: Any) -> Any:
        """Runs the network.

        Args:
          *inputs: one array an input, images channels last.

        Returns:
          The output in PyTorch's axes; if observed, with a dict of every layer's result, likewise.
        """
        arch = json.loads(self.arch)
        run = _Run(self, arch)
        for described, array in zip(arch["inputs"], inputs, strict=True):
            order = channels_last(array.ndim) if reads_image(arch, described["name"]) else tuple(range(array.ndim))
            run.known[described["name"]] = Laid(array, order)
        for node in arch["nodes"]:
            run.node(node)
        output = run.known[arch["output"]].as_torch().array
        return (
            (output, {name: value.as_torch().array for name, value in run.results.items()}) if self.observed else output
        )


def flax_input(arch: Mapping[str, Any], name: str, array: Any) -> Any:
    """An input as the model takes it."""
    if not reads_image(arch, name):
        return array
    return jnp.moveaxis(jnp.asarray(array), 1, -1)


def reads_image(arch: Mapping[str, Any], name: str) -> bool:
    """Whether a value goes into a layer of images, directly or through what keeps its axes."""
    for node in arch["nodes"]:
        if name in node["in"] and (
            node["op"].startswith(_IMAGE_LAYERS)
            or (node["op"] in (*_FUNCTIONS, "add", "mul", "cat") and reads_image(arch, node["id"]))
        ):
            return True
    return False


class _Run:
    """One trace of the network."""

    def __init__(self, module: DeviceNet, arch: Mapping[str, Any]) -> None:
        self.module = module
        self.arch = arch
        self.known: dict[str, Any] = {}
        self.results: dict[str, Laid] = {}
        self.counted = 0

    def node(self, node: Node) -> None:
        given = [self.known[name] for name in node["in"]]
        op, args = node["op"], dict(node["args"])
        operands = [value for value in given if isinstance(value, Laid)]
        was_quantized = any(value.quantized for value in operands)
        result = self._result(node, op, args, given)
        if op in COUNTED and was_quantized:
            self.results[f"_linger_qtensor_q{COUNTED[op]}_{self.counted}"] = result
            self.counted += 1
        elif op in _CELLS:
            self.results[node["id"]] = result[0]
        elif isinstance(result, Laid) and op != "item":
            self.results[node["id"]] = result
            if op.startswith("BatchNorm") and self.module.fused:
                self.results[node["in"][0]] = result
        self.known[node["id"]] = result

    def _result(self, node: Node, op: str, args: dict[str, Any], given: Sequence[Any]) -> Any:
        if op == "item":
            return given[0][args["index"]]
        if op in _FUNCTIONS:
            _plain(op, args)
            quantized = op in _ALWAYS_QUANTIZED or given[0].quantized
            return given[0].map(_FUNCTIONS[op], quantized=quantized)
        if op in POOLING or op in LAYERS:
            return self._layer(node, op, args, given[0])
        if op in _CELLS:
            return self._recurrent(node["id"], op, Arguments(op, args), given[0])
        if op in _OPERATIONS:
            return _OPERATIONS[op](args, given)
        if op in ("flatten", "Flatten"):
            a = Arguments(op, args)
            start = a.take("start", a.take("start_dim", 1))
            a.only("end_dim", -1)
            a.finish()
            return values.flatten(given[0], start, as_it_lies=self._only_dense_reads(node["id"]))
        raise NotSupportedError(f"{op} in arch")

    def _layer(self, node: Node, op: str, args: dict[str, Any], value: Laid) -> Laid:
        value = value.as_image() if op.startswith(_IMAGE_LAYERS) else value.as_torch()
        if op in POOLING:
            a = Arguments(op, args)
            pooled = value.map(POOLING[op](a, value.array.shape), quantized=value.quantized or "Avg" in op)
            a.finish()
            return pooled
        layer = build_layer(op, args, Call(value.array.shape, training=False))
        named = layer.clone(parent=self.module, name=node["id"])
        return Laid(
            named(value.array), value.order if op != "Embedding" else tuple(range(value.rank + 1)), quantized=True
        )

    def _recurrent(self, name: str, op: str, a: Arguments, value: Laid) -> tuple[Laid, None]:
        """The output sequence, and no final state: no case reads it."""
        for argument, default in (("num_layers", 1), ("dropout", 0), ("proj_size", 0)):
            a.only(argument, default)
        a.take("input_size")
        time_major, bidirectional = not a.take("batch_first", False), a.take("bidirectional", False)
        cell, hidden, bias = _CELLS[op], a.take("hidden_size"), a.take("bias", True)
        a.finish()
        rnns = [
            nn.RNN(cell(hidden, use_bias=bias, parent=None), time_major=time_major, parent=None)
            for _ in range(2 if bidirectional else 1)
        ]
        layer = nn.Bidirectional(*rnns, time_major=time_major, parent=None) if bidirectional else rnns[0]
        output = layer.clone(parent=self.module, name=name)(value.as_torch().array)
        return Laid.plain(output, quantized=True), None

    def _only_dense_reads(self, name: str) -> bool:
        """Whether the order of a value's features is free: only Linear layers read them."""
        readers = [node for node in self.arch["nodes"] if name in node["in"]]
        return name != self.arch["output"] and all(
            node["op"] == "Linear" or (node["op"] in _KEEPS_FEATURES and self._only_dense_reads(node["id"]))
            for node in readers
        )


def _plain(op: str, args: Mapping[str, Any]) -> None:
    """Refuses a function with arguments that the one of ``_FUNCTIONS`` does not heed."""
    a = Arguments(op, args)
    a.only("approximate", "none")
    a.take("inplace")
    if op in ("Dropout", "Identity"):
        return
    a.finish()


# --- functions of several values, or with arguments ---


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[dict[str, Any], Sequence[Laid]], Laid]:
    def run(args: dict[str, Any], given: Sequence[Laid]) -> Laid:
        a, b = values.together(given)
        return Laid(function(a.array, b.array), a.order, a.quantized or b.quantized)

    return run


def _product(args: dict[str, Any], given: Sequence[Laid]) -> Laid:
    a, b = (value.as_torch() for value in given)
    return Laid.plain(jnp.matmul(a.array, b.array), quantized=a.quantized or b.quantized)


def _cat(args: dict[str, Any], given: Sequence[Laid]) -> Laid:
    given = values.together(given)
    array = jnp.concatenate([value.array for value in given], axis=given[0].axis(args["dim"]))
    return Laid(array, given[0].order, any(value.quantized for value in given))


def _softmax(args: dict[str, Any], given: Sequence[Laid]) -> Laid:
    return given[0].map(lambda x: jax.nn.softmax(x, axis=given[0].axis(args["dim"])))


def _glu(args: dict[str, Any], given: Sequence[Laid]) -> Laid:
    return given[0].map(lambda x: nn.glu(x, axis=given[0].axis(args.get("dim", -1))), quantized=True)


def _quantized_softmax(args: dict[str, Any], given: Sequence[Laid]) -> Laid:
    return _softmax(args, given).map(lambda x: x, quantized=True)


_OPERATIONS: Mapping[str, Callable[[dict[str, Any], Sequence[Any]], Any]] = {
    "add": _binary(lambda a, b: a + b),
    "mul": _binary(lambda a, b: a * b),
    "matmul": _product,
    "bmm": _product,
    "cat": _cat,
    "softmax": _softmax,
    "Softmax": _quantized_softmax,
    "GLU": _glu,
    "reshape": lambda args, given: values.reshape(given[0], args["shape"]),
    "permute": lambda args, given: values.permute(given[0], args["dims"]),
    "transpose": lambda args, given: values.transpose(given[0], args["dim0"], args["dim1"]),
    "squeeze": lambda args, given: values.squeeze(given[0], args.get("dim")),
    "unsqueeze": lambda args, given: values.unsqueeze(given[0], args["dim"]),
    "select": lambda args, given: values.select(given[0], args["dim"], args["index"]),
    "split": lambda args, given: values.split(given[0], args["sizes"], args["dim"]),
    "pad": lambda args, given: values.pad(given[0], args["pad"]),
}

"""How each kind of layer stores its weights in PyTorch, and how they become Flax variables."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import numpy as np

from linger_jax.converters.layout import AxisOrder
from linger_jax.converters.model import ModelLayer
from linger_jax.converters.weights.recurrent_matrices import (
    cell_of,
    in_words,
    recurrent_pieces,
    recurrent_sizes,
    take_piece,
    torch_shape,
)
from linger_jax.kinds import (
    BATCH_NORM,
    CONV,
    CONV_TRANSPOSE,
    DENSE,
    EMBED,
    GROUP_NORM,
    GRU,
    INSTANCE_NORM,
    LAYER_NORM,
    LSTM,
    RMS_NORM,
    SPARIFY_FFN,
    Registry,
)
from linger_jax.typing import HostArray, Shape

# Names inside a PyTorch layer; the second ones are those of older norm layers.
WEIGHT, BIAS = ("weight", "gamma"), ("bias", "beta")
MEAN, VARIANCE = ("running_mean",), ("running_var",)


@dataclasses.dataclass(frozen=True, eq=False)
class LeafRule:
    """One variable of a layer and the PyTorch tensor it comes from.

    Attributes:
      role: name of the variable inside the layer.
      names: names of the tensor inside the PyTorch layer.
      shape: shape of the tensor.
      also: shapes that hold the same numbers (a linear layer written as a 1 x 1 convolution).
      to_flax: the conversion, from the tensor to the shape of the variable; it moves elements, and may leave some.
      transform: the conversion in words.
      plus: name of a second tensor of this shape that is added first, or None.
    """

    role: str
    names: tuple[str, ...]
    shape: Shape
    also: tuple[Shape, ...]
    to_flax: Callable[[HostArray], HostArray]
    transform: str
    plus: str | None = None

    def accepts(self, shape: Shape) -> bool:
        """Whether a tensor of this shape fits."""
        return shape == self.shape or shape in self.also


MakeRules = Callable[[ModelLayer, HostArray | None, HostArray | None], list[LeafRule]]
"""The rules of a layer, given PyTorch's index of each feature that it reads, and that it makes."""
converts: Registry[MakeRules] = Registry("convert")
"""How each kind of layer stores its weights; a layer of any other kind is filled by explicit keys only."""


def leaf_rules(
    layer: ModelLayer, rows: AxisOrder | None = None, columns: AxisOrder | None = None
) -> Mapping[str, LeafRule]:
    """The rules of a layer, by variable name.

    Args:
      layer: the layer.
      rows: order of the features it reads.
      columns: order of the features it makes.
    """
    make = converts.get(layer.kind)
    if make is None:
        return {}
    incoming = None if rows is None else rows.index
    outgoing = None if columns is None else columns.index
    rules = make(layer, incoming, outgoing)
    return {rule.role: rule for rule in rules if rule.role in layer.variables}


def _text(*steps: str | None) -> str:
    return ", ".join(step for step in steps if step) or "as is"


def _shape(layer: ModelLayer, role: str) -> Shape:
    variable = layer.variables.get(role)
    return variable.shape if variable is not None else ()


def _taken(array: HostArray, index: HostArray | None, axis: int) -> HostArray:
    return array if index is None else np.take(array, index, axis=axis)


@converts(DENSE)
def _dense(layer: ModelLayer, incoming: HostArray | None, outgoing: HostArray | None) -> list[LeafRule]:
    kernel = _shape(layer, "kernel")
    rows, columns = math.prod(kernel[: layer.contracted]), math.prod(kernel[layer.contracted :])
    bias = _shape(layer, "bias")
    order_in = "rows from (C, H, W) order" if incoming is not None else None
    order_out = "columns from (C, H, W) order" if outgoing is not None else None
    shaped = f"reshape to {kernel}" if len(kernel) > 2 else None

    def to_kernel(weight: HostArray) -> HostArray:
        matrix = weight.reshape(columns, rows).T
        return _taken(_taken(matrix, incoming, 0), outgoing, 1).reshape(kernel)

    return [
        LeafRule(
            "kernel",
            WEIGHT,
            (columns, rows),
            ((columns, rows, 1), (columns, rows, 1, 1)),
            to_kernel,
            _text("[out, in] -> [in, out]", order_in, order_out, shaped),
        ),
        LeafRule(
            "bias",
            BIAS,
            (math.prod(bias),),
            (),
            lambda b: _taken(b, outgoing, 0).reshape(bias),
            _text("from (C, H, W) order" if outgoing is not None else None),
        ),
    ]


_AXES = {1: "W", 2: "HW", 3: "DHW"}


@converts(CONV)
def _conv(layer: ModelLayer, incoming: HostArray | None, outgoing: HostArray | None) -> list[LeafRule]:
    del outgoing
    kernel = _shape(layer, "kernel")
    window, (inside, outside) = kernel[:-2], kernel[-2:]
    torch_shape = (outside, inside, *window)
    axes = _AXES.get(len(window), f"{len(window)}d")

    def to_kernel(weight: HostArray) -> HostArray:
        moved = np.moveaxis(weight.reshape(torch_shape), (0, 1), (-1, -2))
        return _taken(moved, incoming, -2)

    text = _text(f"OI{axes} -> {axes}IO", "input channels reordered" if incoming is not None else None)
    also = ((outside, inside),) if math.prod(window) == 1 else ()
    return [
        LeafRule("kernel", WEIGHT, torch_shape, also, to_kernel, text),
        _vector("bias", BIAS, _shape(layer, "bias")),
    ]


@converts(CONV_TRANSPOSE)
def _conv_transpose(layer: ModelLayer, incoming: HostArray | None, outgoing: HostArray | None) -> list[LeafRule]:
    """PyTorch stores [in, out/groups, window] and flips the window; Flax flips only with ``transpose_kernel=True``.

    With groups (``linger_jax.nn.ConvTranspose``) the kernel is [window, in/groups, out].
    """
    del outgoing
    kernel = _shape(layer, "kernel")
    window, groups = kernel[:-2], layer.groups
    inside, outside = (kernel[-1], kernel[-2]) if layer.flipped else (kernel[-2], kernel[-1])
    torch_shape = (inside * groups, outside // groups, *window)
    axes = _AXES.get(len(window), f"{len(window)}d")

    def to_kernel(weight: HostArray) -> HostArray:
        weight = _taken(weight, incoming, 0)
        if layer.flipped:
            return np.moveaxis(weight, (0, 1), (-1, -2))
        grouped = np.moveaxis(weight.reshape(groups, inside, outside // groups, *window), 0, 1)
        joined = grouped.reshape(inside, outside, *window)
        return np.flip(np.moveaxis(joined, (0, 1), (-2, -1)), tuple(range(len(window))))

    text = _text(
        f"IO{axes} -> {axes}{'OI' if layer.flipped else 'IO'}",
        None if layer.flipped else "flipped",
        f"{groups} groups joined" if groups > 1 else None,
        "input channels reordered" if incoming is not None else None,
    )
    return [
        LeafRule("kernel", WEIGHT, torch_shape, (), to_kernel, text),
        _vector("bias", BIAS, _shape(layer, "bias")),
    ]


def _vector(role: str, names: tuple[str, ...], shape: Shape, order: HostArray | None = None) -> LeafRule:
    def to_flax(values: HostArray) -> HostArray:
        return _taken(values.reshape(-1), order, 0).reshape(shape)

    # A norm over whole images has the shape [C, H, W] in PyTorch.
    turned = (shape[-1], *shape[:-1]) if len(shape) > 1 else shape
    text = _text("from (C, H, W) order" if order is not None else None)
    return LeafRule(role, names, turned if order is not None else shape, (shape, (math.prod(shape),)), to_flax, text)


_NORM_VARIABLES: Mapping[str, tuple[str, ...]] = {"scale": WEIGHT, "bias": BIAS, "mean": MEAN, "var": VARIANCE}


@converts(BATCH_NORM, LAYER_NORM, GROUP_NORM, INSTANCE_NORM, RMS_NORM)
def _norm(layer: ModelLayer, incoming: HostArray | None, outgoing: HostArray | None) -> list[LeafRule]:
    """Statistics are those of batch normalizations; others have no such variables."""
    del outgoing
    return [_vector(role, names, _shape(layer, role), incoming) for role, names in _NORM_VARIABLES.items()]


@converts(EMBED)
def _embed(layer: ModelLayer, incoming: HostArray | None, outgoing: HostArray | None) -> list[LeafRule]:
    del incoming
    shape = _shape(layer, "embedding")
    text = _text("columns from (C, H, W) order" if outgoing is not None else None)
    return [LeafRule("embedding", ("weight",), shape, (), lambda w: _taken(w, outgoing, 1), text)]


@converts(LSTM, GRU)
def _recurrent(layer: ModelLayer, incoming: HostArray | None, outgoing: HostArray | None) -> list[LeafRule]:
    del outgoing
    _, hidden, _ = recurrent_sizes(layer)
    return [
        LeafRule(
            role,
            (piece.name,),
            torch_shape(layer, piece.name),
            (),
            functools.partial(take_piece, piece, hidden=hidden, incoming=incoming),
            in_words(piece, cell_of(layer), reordered=incoming is not None),
            piece.plus,
        )
        for role, piece in recurrent_pieces(layer).items()
    ]


@converts(SPARIFY_FFN)
def _sparify_ffn(layer: ModelLayer, incoming: HostArray | None, outgoing: HostArray | None) -> list[LeafRule]:
    """linger's sparse feed-forward block: matrices [out, in]; only the first two read the block's input."""
    del outgoing
    rules = []
    for role, variable in layer.variables.items():
        if not role.startswith("weight_"):
            rules.append(_vector(role, (role,), variable.shape))
            continue
        rows = None if role == "weight_fc2" else incoming
        to_flax = functools.partial(_turned, index=rows)
        text = _text("[out, in] -> [in, out]", "rows from (C, H, W) order" if rows is not None else None)
        rules.append(LeafRule(role, (role,), variable.shape[::-1], (), to_flax, text))
    return rules


def _turned(weight: HostArray, index: HostArray | None) -> HostArray:
    return _taken(weight.T, index, 0)

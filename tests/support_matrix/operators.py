"""What the matrix has a row for: one small model each.

Modules named ``before`` only make a quantized operand: what is found about them does not count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from linger_jax.nn import SparifyFFN

VECTOR, ROWS, LINE, IMAGE = (1, 8), (1, 6, 8), (1, 8, 4), (1, 8, 8, 4)


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One row.

    Attributes:
      section: heading above it.
      name: as the page shows it.
      function: the model, of one array each ``shapes``; it may make modules.
      shapes: of its inputs, as Flax has them.
      bits: changes of ``quant_info``.
      dtype: of its inputs.
    """

    section: str
    name: str
    function: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    bits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dtype: Any = jnp.float32


class Function(nn.Module):
    """A row as a model."""

    function: Callable[..., Any]

    @nn.compact
    def __call__(self, *inputs: Any) -> Any:
        """Calls it."""
        return self.function(*inputs)


def _dense(x: Any, name: str = "before") -> Any:
    return nn.Dense(8, name=name)(x)


def _conv(x: Any, name: str = "before") -> Any:
    return nn.Conv(4, (3, 3), name=name)(x)


def _batch_norm(x: Any) -> Any:
    return nn.BatchNorm(use_running_average=True)(x)


def _after(make: Callable[[Any], Any], operator: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: operator(make(x))


def _avg_pool(axes: int) -> Callable[[Any], Any]:
    def pool(x: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):  # Flax's own avg_pool divides a float by an integer
            return nn.avg_pool(x, (2,) * axes, (2,) * axes)

    return pool


def _sequence(cell: type[nn.RNNCellBase], *, both: bool = False) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        if both:
            return nn.Bidirectional(nn.RNN(cell(8)), nn.RNN(cell(8)))(x)
        return nn.RNN(cell(8))(x)

    return run


def _padded(x: Any) -> Any:
    return nn.Conv(4, (3, 3), padding="VALID")(jnp.pad(_conv(x), ((0, 0), (1, 1), (1, 1), (0, 0))))


def _attention(x: Any) -> Any:
    query, key, value = (nn.Dense(8, name=name)(x) for name in ("query", "key", "value"))
    return nn.softmax(query @ key.swapaxes(-1, -2)) @ value


LAYERS = "Layers"
WIDTHS = "Other widths"
OPERATORS = "Operators"
MOVES = "What passes scale and bits through"

ROWS_OF_MATRIX: tuple[Row, ...] = (
    Row(LAYERS, "`Dense`", lambda x: nn.Dense(8)(x), (VECTOR,)),
    Row(LAYERS, "`Dense` of several rows", lambda x: nn.Dense(8)(x), (ROWS,)),
    Row(LAYERS, "`DenseGeneral`", lambda x: nn.DenseGeneral(8)(x), (ROWS,)),
    Row(LAYERS, "`nn.Einsum`", lambda x: nn.Einsum((8, 8), "bd,de->be")(x), (VECTOR,)),
    Row(LAYERS, "`Conv`, 1-D", lambda x: nn.Conv(4, (3,))(x), (LINE,)),
    Row(LAYERS, "`Conv`, 2-D", lambda x: nn.Conv(4, (3, 3))(x), (IMAGE,)),
    Row(LAYERS, "`Conv`, 2-D, stride 2", lambda x: nn.Conv(4, (3, 3), strides=2, padding=1)(x), (IMAGE,)),
    Row(LAYERS, "`Conv`, 2-D, depthwise", lambda x: nn.Conv(4, (3, 3), feature_group_count=4)(x), (IMAGE,)),
    Row(LAYERS, "`Conv`, 2-D, two groups", lambda x: nn.Conv(4, (3, 3), feature_group_count=2)(x), (IMAGE,)),
    Row(LAYERS, "`Conv`, 2-D, dilation 2", lambda x: nn.Conv(4, (3, 3), kernel_dilation=2)(x), (IMAGE,)),
    Row(LAYERS, "`Conv`, 2-D, window 7", lambda x: nn.Conv(4, (7, 7), padding=3)(x), (IMAGE,)),
    Row(LAYERS, "`ConvTranspose`, 1-D", lambda x: nn.ConvTranspose(4, (2,), strides=(2,))(x), (LINE,)),
    Row(LAYERS, "`ConvTranspose`, 2-D", lambda x: nn.ConvTranspose(4, (2, 2), strides=(2, 2))(x), (IMAGE,)),
    Row(LAYERS, "`BatchNorm` behind `Dense`", _after(_dense, _batch_norm), (VECTOR,)),
    Row(LAYERS, "`BatchNorm` of images", _after(_conv, _batch_norm), (IMAGE,)),
    Row(LAYERS, "`LayerNorm`", _after(_dense, lambda x: nn.LayerNorm(epsilon=1e-5)(x)), (VECTOR,)),
    Row(
        LAYERS,
        "`Embed` before `Dense`",
        lambda x: nn.Dense(8, name="before")(nn.Embed(8, 8)(x)),
        ((1, 6),),
        dtype=jnp.int32,
    ),
    Row(LAYERS, "`nn.RNN`, LSTM", _sequence(nn.OptimizedLSTMCell), (ROWS,)),
    Row(LAYERS, "`nn.Bidirectional`, LSTM", _sequence(nn.OptimizedLSTMCell, both=True), (ROWS,)),
    Row(LAYERS, "`nn.RNN`, GRU", _sequence(nn.GRUCell), (ROWS,)),
    Row(LAYERS, "`nn.Bidirectional`, GRU", _sequence(nn.GRUCell, both=True), (ROWS,)),
    Row(LAYERS, "`nn.avg_pool`, 1-D", _after(lambda x: nn.Conv(4, (3,), name="before")(x), _avg_pool(1)), (LINE,)),
    Row(LAYERS, "`nn.avg_pool`, 2-D", _after(_conv, _avg_pool(2)), (IMAGE,)),
    Row(LAYERS, "mean over the plane", _after(_conv, lambda x: x.mean((1, 2))), (IMAGE,)),
    Row(LAYERS, "`nn.max_pool`, 2-D", _after(_conv, lambda x: nn.max_pool(x, (2, 2), (2, 2))), (IMAGE,)),
    Row(LAYERS, "`nn.glu`", _after(_dense, nn.glu), (VECTOR,)),
    Row(LAYERS, "`SparifyFFN`", lambda x: SparifyFFN(8, 16)(x), (VECTOR,)),
    Row(WIDTHS, "`Dense`, 4-bit weights", lambda x: nn.Dense(8)(x), (VECTOR,), {"weight_bits": 4}),
    Row(WIDTHS, "`Conv`, 2-D, 4-bit weights", lambda x: nn.Conv(4, (3, 3))(x), (IMAGE,), {"weight_bits": 4}),
    Row(WIDTHS, "`Dense`, 16-bit activations", lambda x: nn.Dense(8)(x), (VECTOR,), {"activate_bits": 16}),
    Row(WIDTHS, "`Conv`, 2-D, 16-bit activations", lambda x: nn.Conv(4, (3, 3))(x), (IMAGE,), {"activate_bits": 16}),
    Row(OPERATORS, "`+`", lambda x: _dense(x) + _dense(x, "before_too"), (VECTOR,)),
    Row(OPERATORS, "`*`", lambda x: _dense(x) * _dense(x, "before_too"), (VECTOR,)),
    Row(OPERATORS, "`@`, two values", lambda x: _dense(x) @ _dense(x, "before_too").swapaxes(1, 2), (ROWS,)),
    Row(OPERATORS, "attention: `@`, `softmax`, `@`", _attention, (ROWS,)),
    Row(OPERATORS, "`concatenate`", lambda x: jnp.concatenate([_conv(x), _conv(x, "before_too")], -1), (IMAGE,)),
    Row(OPERATORS, "`sigmoid`", _after(_dense, nn.sigmoid), (VECTOR,)),
    Row(OPERATORS, "`tanh`", _after(_dense, jnp.tanh), (VECTOR,)),
    Row(OPERATORS, "`gelu`", _after(_dense, nn.gelu), (VECTOR,)),
    Row(OPERATORS, "`silu`", _after(_dense, nn.silu), (VECTOR,)),
    Row(OPERATORS, "`leaky_relu`", _after(_dense, nn.leaky_relu), (VECTOR,)),
    Row(OPERATORS, "`elu`", _after(_dense, nn.elu), (VECTOR,)),
    Row(OPERATORS, "`hard_swish`", _after(_conv, nn.hard_swish), (IMAGE,)),
    Row(OPERATORS, "a function of one value, `1 / (1 + x ** 2)`", _after(_dense, lambda x: 1 / (1 + x**2)), (VECTOR,)),
    Row(OPERATORS, "`softmax`", _after(_dense, nn.softmax), (VECTOR,)),
    Row(MOVES, "`relu`", _after(_dense, nn.relu), (VECTOR,)),
    Row(MOVES, "`relu6`", _after(_dense, nn.relu6), (VECTOR,)),
    Row(MOVES, "flatten before `Dense`", lambda x: nn.Dense(8)(_conv(x).reshape(1, -1)), (IMAGE,)),
    Row(MOVES, "`reshape`", _after(_dense, lambda x: x.reshape(1, 4, 12)), (ROWS,)),
    Row(MOVES, "`transpose` of three axes", _after(_dense, lambda x: x.swapaxes(1, 2)), (ROWS,)),
    Row(MOVES, "`transpose` of an image", _after(_conv, lambda x: x.swapaxes(1, 2)), (IMAGE,)),
    Row(MOVES, "`expand_dims`, `squeeze`", _after(_dense, lambda x: x[:, None, :, None].squeeze(3)), (VECTOR,)),
    Row(MOVES, "one time step, `x[:, -1]`", _after(_dense, lambda x: x[:, -1]), (ROWS,)),
    Row(MOVES, "slice, `x[:, 1:3]`", _after(_dense, lambda x: x[:, 1:3]), (ROWS,)),
    Row(MOVES, "`split`", _after(_dense, lambda x: tuple(jnp.split(x, 2, -1))), (VECTOR,)),
    Row(MOVES, "`pad` before a convolution", _padded, (IMAGE,)),
    Row(MOVES, "`pad` elsewhere", _after(_conv, lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))), (IMAGE,)),
)

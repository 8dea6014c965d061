"""How a call of each kind of step is written: one table, from which models are drawn.

A text is a Python expression inside a compact Flax method. ``{x}`` is a value that the model has; the other fields are
drawn or read off its shape (``tests/equality/drawn/drawing.py``): ``{y}`` another value of the same shape, ``{width}``,
``{window}``, ``{stride}``, ``{padding}`` and ``{index}`` numbers, ``{number}`` the end of a name that is used once,
``{t}`` and ``{c}`` the second and the last extent, ``{b}`` the batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from linger_jax.export.lower.lower_moves import FORMS
from linger_jax.kinds import KINDS, MOVES, Kind, LayerKind, Move, OperatorKind
from linger_jax.targets import Platform

TOKENS = 0
"""The rank of whole numbers, [batch, time], in ``Call.ranks``."""

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """One spelling.

    Attributes:
      ranks: of values that it takes, the batch included.
      text: the expression.
      where: which shapes it takes.
      also: further records that it holds a call of.
    """

    ranks: tuple[int, ...]
    text: str
    where: Callable[[Shape], bool] = lambda shape: True
    also: tuple[str, ...] = ()


def _even(shape: Shape) -> bool:
    return shape[-1] % 2 == 0


def _several(shape: Shape) -> bool:
    return shape[1] > 1


_ROWS, _ALL = (2, 3), (2, 3, 4)
_PARAMETER = 'self.param("w{number}", nn.initializers.normal(), '


def _cells(*names: str) -> tuple[Call, ...]:
    """Sequences over cells: plain, stacked, backwards, in both directions."""
    calls = []
    for name in names:
        one = f"nn.RNN({name}({{width}}))"
        calls += [
            Call((3,), f"{one}({{x}})"),
            Call((3,), f"{one}({one}({{x}}))"),
            Call((3,), f"nn.RNN({name}({{width}}), reverse=True, keep_order=True)({{x}})"),
            Call((3,), f"nn.Bidirectional({one}, nn.RNN({name}({{width}})))({{x}})"),
        ]
    return tuple(calls)


CALLS: Mapping[str, tuple[Call, ...]] = {
    # Layers.
    "dense": (
        Call(_ALL, "nn.Dense({width})({x})"),
        Call(_ROWS, "nn.Dense({width}, use_bias=False)({x})"),
        Call(_ROWS, "(lambda layer: layer(layer({x})))(nn.Dense({c}))"),
        Call(_ROWS, "nn.remat(nn.Dense)({width})({x})"),
        Call((2,), "nn.DenseGeneral(({width}, {width}))({x})"),
        Call((3,), "nn.DenseGeneral({width}, axis=(-2, -1))({x})"),
    ),
    "einsum": (
        Call((2,), 'nn.Einsum(({c}, {width}), "bc,cd->bd")({x})'),
        Call((3,), 'nn.Einsum(({c}, {width}), "btc,cd->btd", use_bias=False)({x})'),
    ),
    "conv": (
        Call((3,), "nn.Conv({width}, ({window},), strides={stride}, padding={padding})({x})"),
        Call((4,), "nn.Conv({width}, ({window}, {window}), strides={stride}, padding={padding})({x})"),
        Call((4,), "nn.Conv({width}, (1, 1), use_bias=False)({x})"),
        Call((4,), "nn.Conv({c}, (3, 3), feature_group_count={c})({x})"),
        Call((4,), "nn.Conv({width}, (3, 3), kernel_dilation=2)({x})"),
        Call((4,), 'nn.Conv({width}, (3, 3), padding="CIRCULAR")({x})', lambda shape: min(shape[1:3]) > 1),
    ),
    "conv_transpose": (
        Call((3,), "nn.ConvTranspose({width}, ({window},), strides=({stride},))({x})"),
        Call((4,), "nn.ConvTranspose({width}, ({window}, {window}), strides=({stride}, 1))({x})"),
        Call((4,), "linger_jax.nn.ConvTranspose({width}, (3, 3), 2, 1, 1)({x})"),
    ),
    "custom_linear": (
        Call(_ROWS, "{x} @ " + _PARAMETER + "({c}, {width}))"),
        Call((2,), "{x} @ " + _PARAMETER + "({c}, {c})) + " + _PARAMETER.replace("w", "b") + "({c},))"),
    ),
    "custom_conv": (
        Call(
            (4,),
            "lax.conv_general_dilated({x}, "
            + _PARAMETER
            + '(3, 3, {c}, {width})), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))',
        ),
    ),
    "embed": (
        Call((TOKENS,), "nn.Embed(11, {width})({x})"),
        Call((3,), "{x} + nn.Embed({t}, {c})(jnp.arange({t}))[None]"),
        Call((TOKENS,), "(lambda table: table.attend(table({x})))(nn.Embed(11, {width}))"),
    ),
    "sparify_ffn": (Call(_ROWS, "linger_jax.nn.SparifyFFN({c}, 8)({x})"),),
    "batch_norm": (Call(_ALL, "nn.BatchNorm(use_running_average=not train)({x})"),),
    "layer_norm": (
        Call(_ALL, "nn.LayerNorm(epsilon=1e-5)({x})"),
        Call((3,), "nn.LayerNorm(epsilon=1e-5, reduction_axes=(-2, -1), feature_axes=(-2, -1))({x})"),
        Call(_ROWS, "nn.LayerNorm(epsilon=1e-5, use_scale=False, use_bias=False)({x})"),
    ),
    "group_norm": (Call(_ALL, "nn.GroupNorm(1)({x})"),),
    "rms_norm": (Call(_ALL, "nn.RMSNorm()({x})"),),
    "instance_norm": (Call((3, 4), "nn.InstanceNorm()({x})"),),
    "lstm": _cells("nn.OptimizedLSTMCell", "nn.LSTMCell", "linger_jax.nn.TorchLSTMCell"),
    "gru": _cells("nn.GRUCell", "linger_jax.nn.TorchGRUCell"),
    "glu": (Call(_ALL, "nn.glu({x})", _even),),
    "avg_pool": (
        Call((3,), 'nn.avg_pool({x}, ({window},), ({stride},), "SAME")'),
        Call((4,), 'nn.avg_pool({x}, ({window}, {window}), ({stride}, {stride}), "SAME")'),
        Call((4,), 'nn.avg_pool({x}, (3, 3), (2, 2), "SAME", count_include_pad=False)'),
        Call((4,), "{x}.mean((1, 2))"),
        Call((3,), "{x}.mean(1)"),
    ),
    "dropout": (Call(_ALL, "nn.Dropout(0.5, deterministic=not train)({x})"),),
    "prelu": (Call(_ALL, "nn.PReLU()({x})"),),
    # Operators.
    "add": (Call(_ALL, "{x} + {y}"), Call(_ALL, "{x} + 1.5"), Call(_ALL, "{x} + {y}")),
    "mul": (Call(_ALL, "{x} * {y}"), Call(_ALL, "{x} / 3.0"), Call(_ALL, "{x} * nn.sigmoid({y})", also=("sigmoid",))),
    "matmul": (
        Call((3,), "{x} @ jnp.swapaxes({y}, 1, 2)"),
        Call((3,), "nn.softmax({x} @ jnp.swapaxes({y}, 1, 2)) @ {x}", also=("softmax",)),
        Call((3,), "nn.MultiHeadDotProductAttention(num_heads=1)({x})", also=("softmax",)),
    ),
    "cat": (
        Call(_ALL, "jnp.concatenate([{x}, {y}], -1)"),
        Call(_ALL, "jnp.concatenate([{x}, {y}, {x}], 1)"),
        Call(_ROWS, "jnp.stack([{x}, {y}], -2)"),
    ),
    "sigmoid": (Call(_ALL, "nn.sigmoid({x})"),),
    "tanh": (Call(_ALL, "jnp.tanh({x})"),),
    "gelu": (Call(_ALL, "nn.gelu({x})"), Call(_ALL, "nn.gelu({x}, approximate=False)")),
    "swish": (Call(_ALL, "nn.silu({x})"),),
    "softmax": (Call(_ALL, "nn.softmax({x})"),),
    # What hands a grid on.
    "relu": (Call(_ALL, "nn.relu({x})"),),
    "relu6": (Call(_ALL, "nn.relu6({x})"),),
    "max_pool": (
        Call((3,), 'nn.max_pool({x}, ({window},), ({stride},), "SAME")'),
        Call((4,), 'nn.max_pool({x}, ({window}, {window}), ({stride}, {stride}), "SAME")'),
    ),
    "argmax": (Call(_ROWS, "jnp.argmax({x}, -1)"),),
    # Moves.
    "reshape": (
        Call((3, 4), "{x}.reshape({b}, -1)"),
        Call((2, 3), "{x}.reshape({b}, {c}, -1)"),
        Call((3,), "{x}.reshape({b}, {t}, {c}, 1)"),
    ),
    "transpose": (Call((3,), "jnp.swapaxes({x}, 1, 2)"), Call((4,), "{x}.transpose(0, 2, 1, 3)")),
    "squeeze": (Call((3, 4), "{x}[:, -1:].squeeze(1)"),),
    "expand_dims": (Call((2, 3), "jnp.expand_dims({x}, 1)"),),
    "broadcast_in_dim": (Call((2,), "jnp.broadcast_to({x}[:, None], ({b}, 3, {c}))"),),
    "slice": (Call(_ALL, "{x}[:, 1:]", _several), Call((3, 4), "{x}[:, {index}]")),
    "split": (Call(_ALL, "jnp.split({x}, 2, -1)[1]", _even),),
    "unstack": (Call((3, 4), "jnp.unstack({x}, axis=1)[0]"),),
    "rev": (Call(_ALL, "jnp.flip({x}, 1)"),),
    "pad": (
        Call((3,), "jnp.pad({x}, ((0, 0), (1, 2), (0, 0)))"),
        Call((4,), "jnp.pad({x}, ((0, 0), (1, 1), (1, 1), (0, 0)))"),
    ),
    "gather": (Call(_ALL, "{x}[:, jnp.array([{index}, 0])]"),),
    "dynamic_slice": (Call(_ALL, "lax.dynamic_slice_in_dim({x}, {index}, 1, 1)"),),
    "tile": (Call((2,), "jnp.tile({x}, (1, 2))"), Call((3,), "jnp.tile({x}, (1, 1, 2))")),
    "copy": (Call(_ALL, "jnp.copy({x})"),),
    "name": (Call(_ALL, 'checkpoint_name({x}, "kept")'),),
    "stop_gradient": (Call(_ALL, "lax.stop_gradient({x})"),),
    "sharding_constraint": (
        Call(_ALL, "lax.with_sharding_constraint({x}, jax.sharding.SingleDeviceSharding(jax.devices()[0]))"),
    ),
    "convert_element_type": (Call(_ALL, "{x}.astype(jnp.bfloat16).astype(jnp.float32)"),),
    "reduce_precision": (Call(_ALL, "lax.reduce_precision({x}, 8, 23)"),),
    "top_k": (Call(_ROWS, "lax.top_k({x}, 1)[0]"),),
    "sort": (Call(_ROWS, "jnp.sort({x}, -1)"),),
    "optimization_barrier": (Call(_ALL, "lax.optimization_barrier({x})"),),
    "join": (Call(_ALL, "jnp.roll({x}, 1, 1)"),),
    "select_n": (Call(_ALL, "jnp.where({x} > 0.5, {x}, {y})"),),
    # Any other function.
    "table": (
        Call(_ALL, "nn.leaky_relu({x})"),
        Call(_ALL, "nn.hard_swish({x})"),
        Call(_ALL, "nn.elu({x})"),
        Call(_ALL, "{x} * nn.relu6({x} + 3.0) / 6.0"),
        Call(_ALL, "jnp.where({x} > 0.25, jnp.sin({x}), {x} ** 2)"),
        Call(_ALL, "1.0 / (1.0 + {x} ** 2)"),
        Call(_ALL, "jnp.sqrt(jnp.abs({x}) + 0.25) + jnp.exp(-{x})"),
        Call(_ALL, "jnp.clip({x}, -1.0, 2.5)"),
        Call(_ALL, "nn.softplus({x}) * 0.5"),
    ),
}
"""By the name of the record."""

NOT_CALLED: Mapping[str, str] = {
    "folded_norm": "made by trace_layers: models are drawn with it and without",
    "conv_bn": "made by trace_layers, and float: only constrained models have it",
    "structural": "any of the moves",
    "copy_p": "JAX's name for a copy in other releases",
}
"""Records that no expression is a call of, and why."""


_RECORDS: Mapping[str, Kind | Move] = {**{kind.name: kind for kind in KINDS}, **MOVES}


def is_rare(name: str, platform: Platform) -> bool:
    """Whether a step stays float on a chip, or has no form in a file: drawn now and then."""
    match _RECORDS[name]:
        case Move() as move:
            return move.grid is None or (not move.is_identity and name not in FORMS)
        case LayerKind() as layer:
            refused = layer.float_because or layer.file.refused_because
            return refused is not None or not layer.runs_on(platform)
        case OperatorKind() as operator:
            return not (operator.is_function_of_each_element or operator.runs_on(platform))
        case _:
            return False


def wants_a_grid(name: str) -> bool:
    """Whether a step of an input as it comes would run as float: an operator, or a move that no file has for floats."""
    match _RECORDS[name]:
        case Move() as move:
            return not move.takes_floats
        case LayerKind():
            return False
        case kind:
            return not kind.file.takes_floats


def makes_a_grid(name: str) -> bool:
    """Whether a step quantizes whatever it reads."""
    kind = _RECORDS[name]
    return isinstance(kind, LayerKind) and kind.is_quantized

"""Every public layer of the installed Flax is quantized, passed through, or listed as float with a reason."""

import inspect
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import linger_jax
import linger_jax.nn as own
from linger_jax.errors import LingerWarning

SEQUENCE, IMAGE = (2, 6, 4), (2, 6, 6, 4)
ABSTRACT = {nn.Module, nn.RNNCellBase}


class Product(nn.Module):
    """A product of the library's own in the place of the usual one."""

    dot: type

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.ones, (4, 3))
        return self.dot()(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


class Wrapped(nn.Module):
    """A normalisation around a Dense."""

    norm: type

    @nn.compact
    def __call__(self, x):
        options = {"update_stats": False} if self.norm is nn.SpectralNorm else {}
        return self.norm(nn.Dense(3))(x, **options)


class Fp8Product(nn.Module):
    """An einsum in float8."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.ones, (4, 3))
        return nn.Fp8Einsum()("btc,cd->btd", x, kernel)


class Cell(nn.Module):
    """One step of a recurrent cell."""

    cell: nn.Module

    @nn.compact
    def __call__(self, x):
        x = x[:, 0]
        return self.cell(self.cell.initialize_carry(jax.random.key(0), x.shape), x)[1]


def at(layer, shape=SEQUENCE):
    return layer, shape


LAYERS = {
    nn.BatchNorm: at(nn.BatchNorm(use_running_average=True)),
    nn.Bidirectional: at(nn.Bidirectional(nn.RNN(nn.LSTMCell(3)), nn.RNN(nn.LSTMCell(3)))),
    nn.Conv: at(nn.Conv(3, (3,))),
    nn.ConvLSTMCell: at(Cell(nn.ConvLSTMCell(3, (3,))), IMAGE),
    nn.ConvLocal: at(nn.ConvLocal(3, (3,))),
    nn.ConvTranspose: at(nn.ConvTranspose(3, (3,))),
    nn.Dense: at(nn.Dense(3)),
    nn.DenseGeneral: at(nn.DenseGeneral((2, 3))),
    nn.Dropout: at(nn.Dropout(0.5, deterministic=True)),
    nn.Einsum: at(nn.Einsum((4, 3), "btc,cd->btd")),
    nn.Embed: at(nn.Embed(5, 4), None),
    nn.Fp8DirectDotGeneralOp: at(Product(nn.Fp8DirectDotGeneralOp)),
    nn.Fp8DotGeneral: at(Product(nn.Fp8DotGeneral)),
    nn.Fp8DotGeneralOp: at(Product(nn.Fp8DotGeneralOp)),
    nn.Fp8Einsum: at(Fp8Product()),
    nn.GRUCell: at(nn.RNN(nn.GRUCell(3))),
    nn.GroupNorm: at(nn.GroupNorm(2)),
    nn.InstanceNorm: at(nn.InstanceNorm()),
    nn.LSTMCell: at(nn.RNN(nn.LSTMCell(3))),
    nn.LayerNorm: at(nn.LayerNorm(epsilon=1e-5)),
    nn.MGUCell: at(nn.RNN(nn.MGUCell(3))),
    nn.MultiHeadAttention: at(nn.MultiHeadAttention(2)),
    nn.MultiHeadDotProductAttention: at(nn.MultiHeadDotProductAttention(2)),
    nn.NANOOFp8DotGeneralOp: at(Product(nn.NANOOFp8DotGeneralOp)),
    nn.OptimizedLSTMCell: at(nn.RNN(nn.OptimizedLSTMCell(3))),
    nn.PReLU: at(nn.PReLU()),
    nn.RMSNorm: at(nn.RMSNorm()),
    nn.RNN: at(nn.RNN(nn.OptimizedLSTMCell(3))),
    nn.SelfAttention: at(nn.SelfAttention(2)),
    nn.Sequential: at(nn.Sequential([nn.Dense(3), nn.gelu])),
    nn.SimpleCell: at(nn.RNN(nn.SimpleCell(3))),
    nn.SpectralNorm: at(Wrapped(nn.SpectralNorm)),
    nn.WeightNorm: at(Wrapped(nn.WeightNorm)),
    own.ConvTranspose: at(own.ConvTranspose(3, 3)),
    own.SparifyFFN: at(own.SparifyFFN(4, 8)),
    own.TorchGRUCell: at(nn.RNN(own.TorchGRUCell(3))),
    own.TorchLSTMCell: at(nn.RNN(own.TorchLSTMCell(3))),
}


class Behind(nn.Module):
    """A layer behind a Dense, whose result is quantized."""

    layer: nn.Module
    tokens: bool = False

    @nn.compact
    def __call__(self, x):
        return self.layer(x if self.tokens else nn.Dense(4, name="entry")(x))


def public_layers(library):
    found = (value for name, value in vars(library).items() if inspect.isclass(value) and not name.startswith("_"))
    return {value for value in found if issubclass(value, nn.Module)} - ABSTRACT


def test_every_public_layer_is_in_the_table():
    """A layer that a Flax release adds belongs here, and in staging/layer_kinds.py if it is no sum of known ones."""
    missing = (public_layers(nn) | public_layers(own)) - set(LAYERS)
    assert sorted(layer.__name__ for layer in missing) == []


# Flax computes the root of the number of features in its attention.
COMPUTED = (nn.MultiHeadAttention, nn.MultiHeadDotProductAttention, nn.SelfAttention)
MARKED = [pytest.param(layer, marks=pytest.mark.model) if layer in COMPUTED else layer for layer in LAYERS]


@pytest.mark.parametrize("layer", MARKED, ids=lambda layer: f"{layer.__module__.split('.')[0]}.{layer.__name__}")
def test_a_layer_is_quantized_passed_or_float_with_a_reason(layer):
    module, shape = LAYERS[layer]
    model = Behind(module, tokens=shape is None)
    x = jax.ShapeDtypeStruct(shape or (2, 3), jnp.float32 if shape else jnp.int32)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", LingerWarning)
        variables = jax.eval_shape(lambda x: model.init({"params": jax.random.key(0)}, x), x)
        rows = linger_jax.init(model).plan(variables, x, verdict=False).rows()
    rows = [row for row in rows if row.name != "entry"]
    assert rows, "the layer leaves no trace in the plan"
    for row in rows:
        assert row.status in ("quantized", "passes", "float")
        assert row.status != "float" or row.reason, row

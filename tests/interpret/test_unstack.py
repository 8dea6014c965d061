"""Taking an array apart along an axis moves values: each part keeps scale and bits of the whole."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from tests.interpret.steps import gradients, same_bits, trained
from tests.models import prepared, random_array

X = random_array(0, 5, 6)


class Parts(nn.Module):
    """Parts of a Dense layer's result along one axis."""

    axis: int

    @nn.compact
    def __call__(self, x):
        return jnp.unstack(nn.DenseGeneral((2, 3, 4))(x), axis=self.axis)


class Whole(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.DenseGeneral((2, 3, 4))(x)


@pytest.mark.parametrize("axis", range(-4, 4))
def test_parts_along_any_axis_have_the_integers_of_the_whole(axis):
    qmodel, variables = prepared(Parts(axis), X)
    whole = linger_jax.init(Whole())
    variables = linger_jax.calibrate(qmodel, variables, [X], progress=False)
    assert not qmodel.plan(variables, X).float_rows
    parts, value = qmodel.apply_qtensor(variables, X), whole.apply_qtensor(variables, X)
    assert len(parts) == (5, 2, 3, 4)[axis]
    for i, part in enumerate(parts):
        same_bits(part.value, jnp.take(value.value, i, axis))
        assert (part.scale, part.bits) == (value.scale, value.bits)
    same_bits(qmodel.apply(variables, X), qmodel.apply(variables, X, mode="integer"))


class Unpacked(nn.Module):
    indexed: bool

    @nn.compact
    def __call__(self, x):
        h = nn.DenseGeneral((2, 4))(x).swapaxes(0, 1)
        if self.indexed:
            query, key = h[0], h[1]
        else:
            query, key = h
        return nn.Dense(3)(query * key + query)


def test_unpacking_computes_what_indexing_computes():
    qmodel, variables = prepared(Unpacked(False), X)
    indexed, same = prepared(Unpacked(True), X)
    same_bits(variables, same)
    ops = [[(row.op, row.status) for row in m.plan(variables, X).rows()] for m in (qmodel, indexed)]
    assert ops[0] == ops[1] == [(op, "quantized") for op in ("DenseGeneral", "mul", "add", "Dense")]
    output, variables = trained(qmodel, variables, X)
    wanted, same = trained(indexed, same, X)
    same_bits((output, variables), (wanted, same))
    jax.tree.map(np.testing.assert_array_equal, gradients(qmodel, variables, X), gradients(indexed, same, X))


class Stacked(nn.Module):
    """Products with the parts of one parameter."""

    indexed: bool
    axis: int

    @nn.compact
    def __call__(self, x):
        kernels = self.param("kernels", nn.initializers.lecun_normal(), (3, 6, 6))
        kernels = jnp.moveaxis(kernels, 0, self.axis)
        if self.indexed:
            parts = [kernels[(slice(None),) * self.axis + (i,)] for i in range(3)]
        else:
            parts = [*kernels] if self.axis == 0 else jnp.unstack(kernels, axis=self.axis)
        for kernel in parts:
            x = nn.relu(x @ kernel)
        return x


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_part_of_a_parameter_is_a_weight(axis):
    qmodel, variables = prepared(Stacked(False, axis), X)
    indexed, same = prepared(Stacked(True, axis), X)
    rows = [row for row in qmodel.plan(variables, X).rows() if row.op != "relu"]
    assert [(row.name, row.op, row.status) for row in rows] == [
        (name, "custom linear", "quantized") for name in ("kernels", "kernels_1", "kernels_2")
    ]
    same_bits(variables, same)
    same_bits(trained(qmodel, variables, X), trained(indexed, same, X))


class Summed(nn.Module):
    @nn.compact
    def __call__(self, x):
        kept = nn.Dense(5, use_bias=False, kernel_init=lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype))
        return jax.lax.associative_scan(jnp.add, kept(x), axis=1)


def test_an_addition_without_elements_needs_no_statistic():
    # Every sum fills its range, so that nothing is clipped: 1.5 to 1.9 and 0.2.
    x = np.float32([[1.5, 0.1, 0.1, 0.1, 0.1]]) * np.float32([[1.0], [-1.0], [0.5]])
    qmodel = linger_jax.init(Summed(), {"quant_info": {"a_calibrate_name": "abs_max"}})
    variables = linger_jax.calibrate(qmodel, qmodel.init(jax.random.key(0), x), [x], progress=False)
    output = qmodel.apply(variables, x)
    same_bits(output, qmodel.apply(variables, x, mode="integer"))
    np.testing.assert_allclose(output, np.cumsum(x, 1), atol=0.05)

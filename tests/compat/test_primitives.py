import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.compat import equations, new_primitive

X = np.float32([[1.0, -2.0, 3.0], [0.0, 1.0, 2.0]])


def run(x, y, *, factor):
    return [x * factor + y, x]


def types(x, y, *, factor):
    del y, factor
    return [x, x]


def jvp(primals, tangents, *, factor):
    x, y = tangents
    return scaled.bind(*primals, factor=factor), [10.0 * (x + y), x]


def batch(operands, axes, *, factor):
    x, y = (v if axis is None else jnp.moveaxis(v, axis, 0) for v, axis in zip(operands, axes, strict=True))
    assert axes in ([1, None], [0, 0])
    return scaled.bind(x, jnp.broadcast_to(y, x.shape), factor=factor), [0, 0]


scaled = new_primitive("scaled_for_tests", run, types, jvp=jvp, batch=batch)


def test_it_stands_in_a_jaxpr_and_runs_as_it_is_and_compiled():
    closed = jax.make_jaxpr(lambda x: scaled.bind(x, x, factor=3.0))(X)
    (eqn,) = equations(closed)
    assert (eqn.primitive, eqn.params) == (scaled, {"factor": 3.0})
    for function in (scaled.bind, jax.jit(scaled.bind, static_argnames="factor")):
        np.testing.assert_array_equal(function(X, X, factor=3.0)[0], X * 4)


def test_a_tangent_known_to_be_zero_comes_as_zeros():
    _, (tangent, _) = jax.jvp(lambda x: tuple(scaled.bind(x, jnp.ones_like(X), factor=3.0)), (X,), (X,))
    np.testing.assert_array_equal(tangent, 10.0 * X)


def test_batch_axes_are_numbers_or_none():
    y = np.float32([1.0, 2.0])
    first, _ = jax.vmap(lambda x: scaled.bind(x, y, factor=2.0), in_axes=1)(X)
    np.testing.assert_array_equal(first, X.T * 2 + y)

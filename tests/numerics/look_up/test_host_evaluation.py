"""Functions evaluated on the host: against JAX in float64, primitive by primitive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from linger_jax.numerics.look_up import NoHostFunctionError, evaluated_on_host, unknown_to_host
from linger_jax.numerics.look_up.host_primitives import PRIMITIVES

X = np.concatenate([np.linspace(-4, 4, 33), [0.3, -0.7, 1e-3, 60.0, -60.0]])

FUNCTIONS = {
    **{name: getattr(lax, name) for name in ("abs", "ceil", "floor", "sign", "square", "sqrt", "cbrt", "exp", "exp2")},
    **{name: getattr(lax, name) for name in ("expm1", "log", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{name: getattr(lax, name) for name in ("asin", "acos", "atan", "asinh", "acosh", "atanh", "rsqrt", "logistic")},
    **{name: getattr(lax, name) for name in ("erf", "erfc", "erf_inv", "neg", "stop_gradient")},
    "lgamma": lambda x: lax.lgamma(jnp.abs(x) + 0.1),
    "digamma": lambda x: lax.digamma(jnp.abs(x) + 0.1),
    "round": lax.round,
    "round to even": lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    "integer_pow": lambda x: lax.integer_pow(x, 3) + lax.integer_pow(x, -2),
    "pow": lambda x: lax.pow(jnp.abs(x), 0.75 * jnp.ones_like(x)),
    "atan2": lambda x: lax.atan2(x, x + 1.5),
    "add": lambda x: x + 1.5,
    "sub": lambda x: 1.5 - x,
    "mul": lambda x: x * x,
    "div": lambda x: 1.5 / x,
    "rem": lambda x: lax.rem(x, jnp.full_like(x, 1.5)),
    "max": lambda x: jnp.maximum(x, 0.5),
    "min": lambda x: jnp.minimum(x, 0.5),
    "clamp": lambda x: lax.clamp(-1.0, x, 2.0),
    "select_n": lambda x: jnp.where(x > 0.5, x, -x),
    "compared": lambda x: sum(
        jnp.where(o(x, 0.5), 2.0**i, 0.0) for i, o in enumerate((lax.eq, lax.ne, lax.lt, lax.le, lax.gt, lax.ge))
    ),
    "logic": lambda x: jnp.where(((x > 0) & ~(x > 1)) | ((x < -1) ^ (x < -2)), x, 0.0),
    "is_finite": lambda x: jnp.where(jnp.isfinite(1.0 / x), x, 2.0),
    "cast": lambda x: (x > 0).astype(x.dtype) * x,
    "copy": jnp.copy,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "hard_swish": jax.nn.hard_swish,
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
    "selu": jax.nn.selu,
    "relu6": jax.nn.relu6,
    "of a user's own derivative": jax.custom_vjp(lambda x: x * 2.0),
}
FUNCTIONS["of a user's own derivative"].defvjp(lambda x: (x * 2.0, None), lambda _, g: (g,))


def primitives_in(closed):
    for eqn in closed.jaxpr.eqns:
        yield eqn.primitive.name
        for value in eqn.params.values():
            if hasattr(value, "jaxpr"):
                yield from primitives_in(value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_what_jax_computes_in_float64(name):
    with jax.enable_x64(True):
        closed = jax.make_jaxpr(FUNCTIONS[name])(np.zeros(X.shape))
        want = np.asarray(FUNCTIONS[name](jnp.asarray(X)))
    # Near its zeros the logarithm of the gamma function has no relative exactness.
    np.testing.assert_allclose(evaluated_on_host(closed, X), want, rtol=1e-12, atol=1e-13)


def test_every_primitive_was_tried():
    tried = set()
    for function in FUNCTIONS.values():
        tried |= set(primitives_in(jax.make_jaxpr(function)(np.zeros(3, np.float32))))
    assert set(PRIMITIVES) - tried <= {"copy_p", "name", "add_any", "copy", "stop_gradient"}


def test_numbers_of_a_float32_function_keep_their_float32_values():
    closed = jax.make_jaxpr(lambda x: 0.1 * x)(np.zeros(3, np.float32))
    np.testing.assert_array_equal(evaluated_on_host(closed, np.array([1.0])), np.float64(np.float32(0.1)))


def test_steps_are_not_rounded_to_float32():
    closed = jax.make_jaxpr(lambda x: (x + 1.0) - 1.0)(np.zeros(3, np.float32))
    assert evaluated_on_host(closed, np.array([1e-12])) == pytest.approx(1e-12, rel=1e-3)


def test_any_shape_of_constants_of_one_number_will_do():
    closed = jax.make_jaxpr(lambda x: x * np.full((1, 3), 0.5, np.float32) + jnp.ones((2, 3)))(
        np.zeros((2, 3), np.float32)
    )
    np.testing.assert_array_equal(evaluated_on_host(closed, X), X * 0.5 + 1)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: x - jnp.max(x), "reduce_max is not known"),
        (lambda x: x * np.float32([1, 2, 3]), "several constants"),
        (lambda x: x.astype(jnp.int32).astype(jnp.float32), "a cast to int32"),
        (lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), "a cast to bfloat16"),
        (lambda x: lax.reduce_precision(x, 5, 10), "reduce_precision rounds"),
        (lambda x: jnp.broadcast_to(x[None], (2, 3)), "another shape"),
    ],
)
def test_what_is_no_function_of_single_numbers_is_refused(function, why):
    with pytest.raises(NoHostFunctionError, match=why):
        evaluated_on_host(jax.make_jaxpr(function)(np.zeros(3, np.float32)), X)


def test_what_the_host_does_not_know_is_named_also_inside_calls():
    closed = jax.make_jaxpr(jax.nn.log_softmax)(np.zeros(3, np.float32))
    assert unknown_to_host("custom_jvp_call", (closed,)) == "reduce_max"
    assert unknown_to_host("exp") is None
    assert unknown_to_host("dot_general") == "dot_general"

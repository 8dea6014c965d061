import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.compat import (
    context_number,
    evaluated_now,
    explicit_padding,
    holds_tracers,
    is_tracer,
    leaf_count,
    parts_of_tuple,
    user_context,
    wide_types,
)

X = np.float32([1.0, 2.0])


def test_a_traced_value_is_told_from_an_array():
    assert not is_tracer(jnp.ones(2))
    assert not is_tracer(2.0)
    assert jax.jit(lambda x: is_tracer(x) and x)(X) is not False
    seen = []
    jax.grad(lambda x: (seen.append(is_tracer(x)), x.sum())[1])(X)
    assert seen == [True]


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint])
def test_a_jaxpr_made_of_values_of_an_outer_transformation_is_told(wrap):
    found = []

    def outer(y):
        found.append(holds_tracers(jax.make_jaxpr(wrap(lambda x: x * y))(X)))
        found.append(holds_tracers(jax.make_jaxpr(wrap(lambda x: x * jnp.asarray(X)))(X)))
        return y.sum()

    jax.grad(outer)(X)
    assert found == [True, False]


def test_known_arrays_are_computed_at_once_while_a_function_is_traced():
    seen = []

    def function(x):
        with evaluated_now():
            seen.append(float(jnp.sum(jnp.arange(4.0))))
        return x

    jax.make_jaxpr(function)(X)
    assert seen == [6.0]


def test_wide_types_are_there_inside_only():
    with wide_types():
        assert jnp.asarray(np.int64(2**40)).dtype == jnp.int64
    assert jnp.asarray(np.float64(1.0)).dtype == jnp.float32


def test_a_function_is_traced_again_where_a_user_context_has_another_value():
    context, calls = user_context("outside"), itertools.count()
    values = []

    @jax.jit
    def function(x):
        next(calls)
        values.append(context.value)
        return x

    function(X)
    with context("inside"):
        function(X)
        assert context.value == "inside"
    function(X)
    assert values == ["outside", "inside"]


def test_the_number_of_the_context_changes_with_what_a_trace_depends_on():
    context = user_context(0)
    number = context_number()
    assert context_number() == number
    with wide_types():
        assert context_number() != number
    with jax.default_matmul_precision("highest"):
        assert context_number() != number
    with context(1):
        assert context_number() != number
    assert context_number() == number


def test_the_structure_of_a_tuple_has_parts():
    first, second = parts_of_tuple(jax.tree.structure(({"a": 1, "b": (2, 3)}, [])))
    assert (leaf_count(first), leaf_count(second)) == (3, 0)
    assert jax.tree.unflatten(first, [1, 2, 3]) == {"a": 1, "b": (2, 3)}


def test_padding_by_name_is_amounts():
    assert explicit_padding("SAME", (5, 6), (3, 2), (2, 1)) == [(1, 1), (0, 1)]
    assert explicit_padding("VALID", (5, 6), (3, 2), (2, 1)) == [(0, 0), (0, 0)]

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.compat import (
    as_function,
    constants,
    equations,
    evaluate,
    function_file,
    function_name,
    inputs,
    is_literal,
    jaxprs_in,
    one_equation,
    outputs,
    without_unused,
)
from linger_jax.compat.jaxprs import closed_jaxpr

X = np.float32([1.0, -2.0, 3.0])
TABLE = np.float32([10.0, 20.0, 30.0])


def doubled_and_looked_up(x, unused):
    return x * 2.0, x + jnp.asarray(TABLE), unused.sum()


CLOSED = jax.make_jaxpr(doubled_and_looked_up)(X, X)


def test_parts_of_a_jaxpr():
    assert [v.aval.shape for v in inputs(CLOSED)] == [(3,), (3,)]
    assert [v.aval.shape for v in outputs(CLOSED)] == [(3,), (3,), ()]
    assert [eqn.primitive.name for eqn in equations(CLOSED)] == ["mul", "add", "reduce_sum"]
    known = [value for _, value in constants(CLOSED)]
    known += [atom.val for eqn in equations(CLOSED) for atom in eqn.invars if is_literal(atom)]
    assert sorted(np.size(value) for value in known) == [1, 3]


def test_a_jaxpr_runs_as_a_function_and_with_values_of_another_kind():
    doubled, looked_up, total = as_function(CLOSED)(X, X)
    np.testing.assert_array_equal(doubled, X * 2)
    np.testing.assert_array_equal(looked_up, X + TABLE)
    assert total == 2.0

    def step(eqn, values):
        return [f"{eqn.primitive.name}({', '.join(values)})"]

    words = evaluate(CLOSED, ["x", "u"], step, lambda value: f"<{np.size(value)}>")
    assert words == ["mul(x, <1>)", "add(x, <3>)", "reduce_sum(u)"]


def test_what_no_output_needs_goes_and_its_inputs_are_named():
    def function(x, y, z):
        unneeded = jnp.sin(y)
        return jnp.cos(x), jnp.exp(z) if unneeded is None else 1.0

    needed, used = without_unused(jax.make_jaxpr(function)(X, X, X))
    assert [eqn.primitive.name for eqn in equations(needed)] == ["cos"]
    assert used == [True, False, False]
    cosine, one = as_function(needed)(X, X, X)
    np.testing.assert_array_equal(cosine, jnp.cos(X))
    assert one == 1.0


def test_jaxprs_are_found_in_parameters_alone_or_in_a_tuple():
    assert [equations(j) for j in jaxprs_in((CLOSED, 3, CLOSED))] == [equations(CLOSED)] * 2
    (found,) = jaxprs_in(CLOSED)
    assert found is CLOSED
    assert not list(jaxprs_in("text"))


def test_a_jaxpr_without_constants_of_its_own_is_closed():
    (eqn,) = equations(jax.make_jaxpr(jax.checkpoint(lambda x: jnp.sin(x) * 2.0))(X))
    closed = closed_jaxpr(eqn.params["jaxpr"])
    np.testing.assert_array_equal(as_function(closed)(X)[0], jnp.sin(X) * 2.0)
    assert closed_jaxpr(closed) is closed


def test_the_traced_function_is_named():
    assert function_name(CLOSED) == "doubled_and_looked_up"
    assert function_file(CLOSED) == __file__


def test_one_equation_takes_literals_and_repeated_operands_as_operands():
    (eqn,) = equations(jax.make_jaxpr(lambda x: x * x)(X))
    np.testing.assert_array_equal(one_equation(eqn)(X, X + 1)[0], X * (X + 1))
    (eqn,) = equations(jax.make_jaxpr(lambda x: x * 2.0)(X))
    np.testing.assert_array_equal(one_equation(eqn)(X, np.float32(5.0))[0], X * 5)


def test_one_equation_keeps_the_context_it_was_traced_in():
    def wide(x):
        with jax.enable_x64(True):
            return jax.lax.convert_element_type(jax.lax.convert_element_type(x, jnp.float64) / 3.0, jnp.float32)

    eqn = equations(jax.make_jaxpr(wide)(X))[0]
    assert one_equation(eqn)(X)[0].dtype == jnp.float64

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from linger_jax.compat import (
    CALL,
    CUSTOM_JVP,
    REMAT,
    SCAN,
    ClosedJaxpr,
    bind_again,
    equations,
    operation,
    source_frames,
    wide_types,
    with_parameters,
)
from linger_jax.compat.equations import CHECKPOINT_NAME, CUSTOM_VJP

X = np.float32([[1.0, -2.0], [3.0, 0.5], [2.0, 2.0]])


@jax.custom_jvp
def with_jvp(x):
    return jnp.sin(x)


with_jvp.defjvp(lambda primals, tangents: (with_jvp(*primals), tangents[0]))


@jax.custom_vjp
def with_vjp(x):
    return jnp.sin(x)


with_vjp.defvjp(lambda x: (with_vjp(x), None), lambda residual, cotangent: (cotangent,))


def only(function, *operands):
    (eqn,) = equations(jax.make_jaxpr(function)(*operands))
    return operation(eqn)


def words(closed):
    return [eqn.primitive.name for eqn in equations(closed)]


def test_an_equation_with_another_parameter_is_the_same_otherwise():
    (eqn,) = equations(jax.make_jaxpr(lambda x: x @ x.T)(X))[-1:]
    changed = with_parameters(eqn, precision=None)
    assert changed.params == {**eqn.params, "precision": None}
    assert (changed.primitive, changed.invars, changed.outvars) == (eqn.primitive, eqn.invars, eqn.outvars)
    changed = with_parameters(eqn, precision=(jax.lax.Precision.HIGHEST,) * 2)
    assert changed.params != eqn.params


def test_scan_says_which_operands_are_constants_carries_and_sliced():
    a, b, c = np.float32(2.0), np.float32([1.0, 1.0]), np.float32(0.0)

    def looped(a, b, c, x):
        def step(carry, slice_):
            u, v = carry
            return (u * a + b, v + slice_.sum()), u.sum()

        return jax.lax.scan(step, (b, c), x, reverse=True, unroll=2)

    what = only(looped, a, b, c, X)
    assert what.name == SCAN
    expected = {"consts": 2, "carry": 2, "length": 3, "reverse": True, "unroll": 2}
    assert {name: what.params[name] for name in expected} == expected
    assert what.jaxprs == (what.params["jaxpr"],)
    assert len(what.params["jaxpr"].in_avals) == 5


def test_a_loop_without_slices_and_one_without_a_carry_are_scans():
    fori = only(lambda x: jax.lax.fori_loop(0, 4, lambda i, y: y * 2.0, x), X)
    assert (fori.name, fori.params["consts"], fori.params["carry"], fori.params["length"]) == (SCAN, 0, 2, 4)
    mapped = only(lambda x: jax.lax.map(jnp.sin, x), X)
    assert (mapped.name, mapped.params["consts"], mapped.params["carry"], mapped.params["length"]) == (SCAN, 0, 0, 3)


def test_the_body_of_a_remat_is_closed():
    """Whoever walks a plan asks every body for its constants, whichever form JAX keeps it in."""
    (eqn,) = equations(jax.make_jaxpr(jax.checkpoint(lambda x: jnp.sin(x) * 2.0))(X))
    body = operation(eqn).params["jaxpr"]
    assert isinstance(body, ClosedJaxpr)
    assert words(body) == ["sin", "mul"]


def test_nested_functions_have_one_name():
    def doubled(x):
        return x * 2.0

    what = only(jax.jit(doubled), X)
    assert (what.name, what.params["name"], words(what.params["jaxpr"])) == (CALL, "doubled", ["mul"])


def test_checkpoint_keeps_policy_and_body():
    policy = jax.checkpoint_policies.dots_saveable
    what = only(jax.checkpoint(lambda x: jnp.sin(x) * 2.0, policy=policy, prevent_cse=False), X)
    assert (what.name, what.params["policy"], words(what.params["jaxpr"])) == (REMAT, policy, ["sin", "mul"])
    assert what.params["prevent_cse"] in (False, True)  # the first form of JAX_REMAT3 does not know it


@pytest.mark.parametrize(("function", "name"), [(with_jvp, CUSTOM_JVP), (with_vjp, CUSTOM_VJP)])
def test_functions_with_derivatives_of_their_own_keep_name_and_body(function, name):
    what = only(function, X)
    assert (what.name, words(what.params["jaxpr"])) == (name, ["sin"])
    assert what.params["function"] == function.__name__


def test_a_name_for_checkpoint_policies_is_its_operand():
    assert only(lambda x: checkpoint_name(x, "kept"), X).name == CHECKPOINT_NAME


def test_other_primitives_stay_what_they_are():
    what = only(lambda x: jnp.unstack(x, axis=1), X)
    assert (what.name, what.params["axis"], what.jaxprs) == ("unstack", 1, ())
    cond = operation(equations(jax.make_jaxpr(lambda x, i: jax.lax.switch(i, (jnp.sin, jnp.cos), x))(X, 0))[-1])
    assert cond.name == "cond"
    assert [words(branch) for branch in cond.jaxprs] == [["sin"], ["cos"]]


def test_the_users_line_is_among_the_frames():
    (eqn,) = equations(jax.make_jaxpr(lambda x: jnp.sin(x))(X))
    assert __file__ in [file for file, _ in source_frames(eqn)]


def test_a_primitive_is_bound_again_on_operands_of_another_type():
    (eqn,) = equations(jax.make_jaxpr(lambda x: x.T)(X))
    with wide_types():
        (moved,) = bind_again(eqn, jnp.asarray(2**40 + np.arange(6).reshape(3, 2), jnp.int64))
        assert moved.dtype == jnp.int64
        np.testing.assert_array_equal(moved, (2**40 + np.arange(6).reshape(3, 2)).T)

"""Ways of writing that will become JAX's defaults: the plan, the integers and the gradients stay what they are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.ad_checkpoint import checkpoint_name

import linger_jax
from linger_jax.compat import equations
from tests.interpret.steps import gradients, same_bits
from tests.models import random_array

pytestmark = pytest.mark.slow

X = random_array(0, 6, 8)
SWITCHES = [name for name in ("jax_custom_jvp3", "jax_custom_vjp3", "jax_remat3") if hasattr(jax.config, name)]


@pytest.fixture
def switched_on():
    """Turns all switches on that this release has, and off again."""

    def turn(on):
        for name in SWITCHES:
            jax.config.update(name, on)
        jax.clear_caches()

    yield lambda: turn(True)
    turn(False)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.relu(nn.Dense(8)(x)) + x, None


def model():
    """Functions with rules of their own are made anew, as they are when a program starts."""

    @jax.custom_jvp
    def with_jvp(x):
        return jnp.sin(x)

    with_jvp.defjvp(lambda primals, tangents: (with_jvp(*primals), 2.0 * tangents[0]))

    @jax.custom_vjp
    def with_vjp(x):
        return 0.5 * x

    with_vjp.defvjp(lambda x: (with_vjp(x), None), lambda residual, cotangent: (3.0 * cotangent,))
    kept = jax.checkpoint_policies.save_only_these_names("kept")

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu6(nn.relu(nn.Dense(8)(x)))
            x = nn.remat(nn.Dense, policy=jax.checkpoint_policies.dots_saveable)(8)(x)
            kernel = self.param("kernel", nn.initializers.lecun_normal(), (8, 8))
            x = jax.checkpoint(lambda x, w: checkpoint_name(nn.relu(x @ w), "kept") + x, policy=kept)(x, kernel)
            blocks = nn.scan(nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
            x, _ = blocks()(x, None)
            x = nn.Dense(8)(with_vjp(nn.Dense(8)(x)))
            return nn.Dense(3)(with_jvp(nn.hard_tanh(x)))

    return Model()


def results():
    qmodel = linger_jax.init(model(), {"platform": "venusA"})
    variables = linger_jax.calibrate(qmodel, qmodel.init(jax.random.key(0), X), [X], progress=False)
    plan = qmodel.plan(variables, X, verdict=False)
    rows = [(row.name, row.op, row.status, row.bits, row.reason) for row in plan.rows()]
    output = qmodel.apply(variables, X), qmodel.apply(variables, X, mode="integer")
    return rows, output, variables, gradients(qmodel, variables, X)


def test_relu_checkpoints_and_own_derivatives_are_planned_alike(switched_on):
    rows, output, variables, grads = results()
    passing = [op for _, op, status, *_ in rows if status == "passes"]
    assert passing == ["relu", "relu6", "relu", "relu"]
    assert "relu" not in [op for _, op, status, *_ in rows if status == "float"]
    switched_on()
    other_rows, other_output, other_variables, other_grads = results()
    assert other_rows == rows
    same_bits(other_variables, variables)
    same_bits(other_output, output)
    jax.tree.map(
        lambda a, b: jnp.allclose(a, b, rtol=1e-6, atol=1e-6) or pytest.fail(f"{a} is not {b}"), other_grads, grads
    )


@pytest.mark.skipif(not SWITCHES, reason="this release of JAX has none of the switches")
def test_the_switches_change_what_is_written(switched_on):
    def primitives():
        def named(x):
            return checkpoint_name(x, "kept")

        return [eqn.primitive.name for eqn in equations(jax.make_jaxpr(jax.checkpoint(lambda x: named(jnp.sin(x))))(X))]

    assert primitives() == ["remat2"]
    switched_on()
    assert primitives() == ["call_hi_primitive"]

"""Every move of the table is a primitive of JAX that hands values on as they are."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from linger_jax.compat import equations, operation
from linger_jax.kinds import MOVE_OF_PRIMITIVE, MOVES, GridOf

pytestmark = pytest.mark.kernel

X = jnp.asarray(np.arange(1.0, 7.0, dtype=np.float32).reshape(2, 3))
START = jnp.int32(1)

SPELLINGS = {
    "reshape": lambda x: x.reshape(-1),
    "transpose": jnp.transpose,
    "squeeze": lambda x: lax.squeeze(x[:1], (0,)),
    "expand_dims": lambda x: lax.expand_dims(x, (0,)),
    "broadcast_in_dim": lambda x: jnp.broadcast_to(x, (4, 2, 3)),
    "slice": lambda x: lax.slice(x, (0, 1), (2, 3)),
    "split": lambda x: lax.split(x, (1, 2), 1),
    "unstack": lambda x: jnp.unstack(x),
    "rev": lambda x: lax.rev(x, (0,)),
    "pad": lambda x: lax.pad(x, 6.0, ((0, 0, 0), (1, 1, 0))),
    "gather": lambda x: x[jnp.array([1, 0])],
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (START, START), (1, 2)),
    "tile": lambda x: jnp.tile(x, (1, 2)),
    "copy": jnp.copy,
    "name": lambda x: checkpoint_name(x, "kept"),
    "stop_gradient": lax.stop_gradient,
    "sharding_constraint": lambda x: lax.with_sharding_constraint(
        x, jax.sharding.SingleDeviceSharding(jax.devices()[0])
    ),
    "convert_element_type": lambda x: x.astype(jnp.float16),
    "reduce_precision": lambda x: lax.reduce_precision(x, 8, 23),
    "top_k": lambda x: lax.top_k(x, 2),
    "sort": lambda x: lax.sort((x, -x), num_keys=1),
    "optimization_barrier": lambda x: lax.optimization_barrier((x, -x)),
    "join": lambda x: jnp.roll(x, 1, 0),
    "select_n": lambda x: lax.select_n(x > 2, x, x),
}
# Primitives that the table keeps for releases that spell a move otherwise; the last one has no spelling at all here.
OF_OTHER_RELEASES = {"expand_dims", "stop_gradient", "unstack", "tile", "copy_p"}


def primitives(closed) -> Iterator[str]:
    for eqn in equations(closed):
        what = operation(eqn)
        yield what.name
        for inner in what.jaxprs:
            yield from primitives(inner)


def test_each_move_has_a_spelling():
    assert {*SPELLINGS, "copy_p"} == set(MOVES)


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_primitive_is_jaxs_own(name):
    found = set(primitives(jax.make_jaxpr(SPELLINGS[name])(X)))
    assert found <= {*MOVE_OF_PRIMITIVE, "lt", "gt", "add", "neg", "iota", "select_n", "jit"}
    assert MOVES[name].primitive in found or name in OF_OTHER_RELEASES


@pytest.mark.parametrize("name", SPELLINGS)
def test_values_are_handed_on_as_they_are(name):
    results = jax.tree.leaves(SPELLINGS[name](X))
    given = {GridOf.each: [X, -X]}.get(MOVES[name].grid, [X] * len(results))
    for result, operand in zip(results, given, strict=True):
        if jnp.issubdtype(result.dtype, jnp.floating):
            assert set(np.ravel(result).tolist()) <= set(np.ravel(operand).tolist())
    if MOVES[name].is_identity:
        np.testing.assert_array_equal(np.asarray(results[0], np.float32), X)

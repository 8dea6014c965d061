"""SparifyFFN: the kept groups, their schedule, and the step counter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax import LingerError
from linger_jax.nn import SparifyFFN, SparsitySchedule
from linger_jax.nn.sparify_ffn import GROUPS, kept_groups, kept_share, select_largest
from tests.models import drawn

X = jnp.asarray(np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6))


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        (SparsitySchedule.sqrt, {2: 1 - 0.875 * 0.5, 8: 0.125, 9: 0.125}),
        (SparsitySchedule.linear, {2: 1 - 0.875 * 0.25, 8: 0.125}),
        (SparsitySchedule.step, {1: 1 - 0.0875 * 2, 4: 1 - 0.0875 * 5, 8: 0.125}),
    ],
)
def test_the_kept_share_falls_to_an_eighth(schedule, shares):
    for call, share in shares.items():
        np.testing.assert_allclose(kept_share(jnp.int32(call), schedule, 8), share, rtol=1e-6)


def test_the_number_of_kept_groups_rounds_half_to_even_and_is_never_zero():
    got = [int(kept_groups(jnp.float32(share))) for share in (1.0, 0.5625, 0.4375, 0.0)]
    assert got == [8, 4, 4, 1]


def test_of_equal_groups_the_first_is_kept():
    chances = jnp.asarray([[1, 3, 3, 3, 0, 0, 0, 2]], jnp.float32)
    np.testing.assert_array_equal(select_largest(chances, jnp.int32(2)), [[0, 1, 1, 0, 0, 0, 0, 0]])


def test_the_selection_passes_gradient_where_it_selects():
    chances = jnp.asarray([[4, 1, 3, 2]], jnp.float32)
    gradient = jax.grad(lambda c: (select_largest(c, jnp.int32(2)) * jnp.float32(5)).sum())(chances)
    np.testing.assert_array_equal(gradient, [[5, 0, 5, 0]])


def test_the_counter_moves_only_in_training_with_a_mutable_collection():
    layer = SparifyFFN(6, 16)
    variables = drawn(layer, X, train=True)
    assert int(variables["sparify"]["calls"]) == 0
    _, updates = layer.apply(variables, X, train=True, mutable=["sparify"])
    assert int(updates["sparify"]["calls"]) == 1
    _, updates = layer.apply(variables, X, mutable=["sparify"])
    assert int(updates["sparify"]["calls"]) == 0
    layer.apply(variables, X, train=True)


def test_evaluation_keeps_one_group_of_eight():
    layer = SparifyFFN(6, 16, use_bias=False)
    variables = drawn(layer, X)
    weights = {**variables["params"], "weight_fc1": jnp.abs(variables["params"]["weight_fc1"]) + 1}
    hidden = jnp.abs(X) @ weights["weight_fc1"]
    chances = jax.nn.softmax(jnp.abs(X) @ weights["weight_mask"])
    flags = jnp.repeat(select_largest(chances, jnp.int32(1)), 16 // GROUPS, axis=-1)
    wanted = (hidden * flags) @ weights["weight_fc2"]
    got = layer.apply({**variables, "params": weights}, jnp.abs(X))
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("options", [{"ou_feature": 12}, {"ou_feature": 16, "schedule": "cosine"}])
def test_a_wrong_option_is_refused_with_what_is_allowed(options):
    with pytest.raises(LingerError, match=r"multiple of 8|sqrt, linear, step"):
        SparifyFFN(6, **options).init(jax.random.key(0), X)

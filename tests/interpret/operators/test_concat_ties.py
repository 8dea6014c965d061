"""What meets in a concatenation has one output scale on venusA, so that the executor need not shift right.

Source: docs/decisions.md D22.
"""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from tests.interpret.steps import TQT, same_bits, scale_for
from tests.models import prepared, random_array
from tests.plan.planned import planned, row_of

X = random_array(1, 6, 5)
UNTIED = {"tie_concat_scales": False}


class Branches(nn.Module):
    """Two branches of very different range, one of them read a second time, and a float operand."""

    @nn.compact
    def __call__(self, x):
        wide = nn.relu(nn.Dense(4, name="wide")(40.0 * x))
        narrow = nn.Dense(4, name="narrow")(0.0138 * wide)
        return jnp.concatenate([wide.reshape(6, 4), narrow, x], -1)


GROUP = (
    ("wide", "output_quantizer"),
    ("narrow", "output_quantizer"),
    ("_linger_qtensor_qcat_1", "input_quantizer", "2"),
    ("_linger_qtensor_qcat_1", "output_quantizer"),
)


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def scales(variables):
    return [float(at(variables["quant"], path)["scale"]) for path in GROUP]


def own_scales(variables):
    return [scale_for(float(at(variables["quant"], path)["running_data"])) for path in GROUP]


def steps(qmodel, variables, inputs):
    """Variables after each training step, with the scale of its output."""
    for x in inputs:
        output, updates = qmodel.apply_qtensor(variables, x, mutable=["quant"])
        variables = {**variables, **updates}
        yield variables, float(output.scale)


def test_one_scale_in_every_step_behind_the_first_and_it_is_the_smallest():
    qmodel, variables = prepared(Branches(), X)
    growing = [X, 8.0 * X, 64.0 * X, X]
    seen = list(steps(qmodel, variables, growing))
    for (before, _), (after, of_output) in itertools.pairwise(seen):
        assert len(set(own_scales(before))) > 1
        assert set(scales(after)) == {min(own_scales(before))} == {of_output}
    assert len({of_output for _, of_output in seen}) > 1, "the scale follows the data"


def test_in_the_first_step_no_operand_is_finer_than_those_before_it():
    (variables, of_output), *_ = steps(*prepared(Branches(), X), [X])
    assert scales(variables) == [min(own_scales(variables)[: i + 1]) for i in range(4)]
    assert of_output == min(own_scales(variables))


def test_evaluation_has_one_scale_and_repeats_the_training_step():
    qmodel, variables = prepared(Branches(), X)
    *_, (variables, _) = steps(qmodel, variables, [X, X])
    training = qmodel.apply_qtensor(variables, X, mutable=["quant"])[0]
    *_, (variables, _) = steps(qmodel, variables, [X])
    same_bits(qmodel.apply_qtensor(variables, X), training)
    assert len(set(scales(variables))) == 1


def test_evaluation_of_scales_that_were_trained_apart_takes_the_smallest():
    apart, variables = prepared(Branches(), X, config=UNTIED)
    *_, (variables, _) = steps(apart, variables, [X, X])
    assert len(set(scales(variables))) > 1
    tied = linger_jax.init(Branches())
    assert float(tied.apply_qtensor(variables, X).scale) == min(scales(variables))


def test_thresholds_give_one_scale_from_the_first_step_and_the_smallest_learns():
    # By the least error the clipped values of the wide branch lie on its grid, and its threshold has no slope.
    config = {"quant_info": {**TQT["quant_info"], "a_calibrate_name": "top_10", "calibrate_exponent": "nearest"}}
    qmodel, variables = prepared(Branches(), X, config=config)
    variables = linger_jax.calibrate(qmodel, variables, [X], progress=False)
    thresholds = [at(variables["params"], path)["learning_data"] for path in GROUP]
    least = scale_for(2.0 ** float(max(thresholds)[0]))

    def loss(params):
        output, updates = qmodel.apply_qtensor({**variables, "params": params}, X, mutable=["quant"])
        return jnp.sum(output.value**2), (updates, output.scale)

    gradients, (updates, scale) = jax.grad(loss, has_aux=True)(variables["params"])
    assert set(scales(updates)) == {least} == {float(scale)}
    learns = [float(at(gradients, path)["learning_data"][0]) != 0.0 for path in GROUP]
    assert learns == [scale_for(2.0 ** float(t[0])) == least for t in thresholds]
    assert not all(learns)


@pytest.mark.parametrize("config", [UNTIED, {"platform": "arcs"}, {"compat": "reference"}])
def test_scales_are_their_own_where_nothing_is_to_be_tied(config):
    def two(x):
        wide = nn.Dense(4, name="wide")(40.0 * x)
        return jnp.concatenate([wide, nn.Dense(4, name="narrow")(x)], -1)

    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return two(x)

    qmodel, variables = prepared(Two(), X, config=config)
    *_, (variables, _) = steps(qmodel, variables, [X, X])
    wide, narrow = (float(variables["quant"][n]["output_quantizer"]["scale"]) for n in ("wide", "narrow"))
    assert wide < narrow
    assert all(not q.tied for q in qmodel.plan(variables, X).quantizers.values())


class Dense2(nn.Module):
    """Nested concatenations: all in one group. Addition: its scale has a limit of its own."""

    @nn.compact
    def __call__(self, x):
        a = nn.Dense(3, name="a")(x)
        b = jnp.concatenate([a, nn.Dense(3, name="b")(a)], -1)
        c = nn.Dense(6, name="c")(b)
        return jnp.concatenate([b, c + c], -1)


def test_nested_concatenations_are_one_group():
    plan = planned(Dense2(), X)
    (group,) = {q.tied for q in plan.quantizers.values() if q.tied}
    state_paths = {"a", "b", "_linger_qtensor_qcat_0", "_linger_qtensor_qadd_1", "_linger_qtensor_qcat_2"}
    assert {path[0] for path in group} == state_paths
    qmodel, variables = prepared(Dense2(), X)
    for t, (after, _) in enumerate(steps(qmodel, variables, [X, 2.0 * X, X])):
        found = {float(at(after["quant"], path)["scale"]) for path in group}
        assert t == 0 or len(found) == 1


def test_plan_says_what_is_tied_and_what_cannot_be():
    class Mixed(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(4, name="dense")(x)
            return jnp.concatenate([dense, jax.nn.sigmoid(dense)], -1)

    plan = planned(Mixed(), X)
    assert row_of(plan, "dense").reason == "output scale tied to _linger_qtensor_qcat_1"
    assert row_of(plan, "_linger_qtensor_qcat_1").reason == (
        "output scale tied to dense; the executor can only shift left here, and cannot be tied: "
        "the scale of _linger_qtensor_qsigmoid_0 is fixed"
    )
    assert "tied to" in str(plan)


def test_scale_is_followed_through_what_hands_it_on():
    class Passing(nn.Module):
        @nn.compact
        def __call__(self, x):
            a = nn.Dropout(0.5, deterministic=False)(jnp.maximum(0.0, nn.Dense(4, name="a")(x)))
            mask = jax.random.bernoulli(self.make_rng("dropout"), 0.5, (6, 4)).astype(jnp.float32) / 0.5
            b = jnp.roll(jnp.sort(mask * nn.Dense(4, name="b")(x)), 1)
            return jnp.concatenate([a, b], -1)

    plan = planned(Passing(), X, rngs={"dropout": jax.random.key(1)})
    (group,) = {q.tied for q in plan.quantizers.values() if q.tied}
    assert {path[0] for path in group} == {"a", "b", "_linger_qtensor_qcat_0"}


class Body(nn.Module):
    @nn.compact
    def __call__(self, carry, _):
        a = nn.Dense(2, name="a")(carry)
        return jnp.concatenate([a, nn.Dense(2, name="b")(3.0 * a)], -1), None


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        scan = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return scan(name="body")(x, None)[0]


def test_layers_of_a_scan_are_tied_slice_by_slice():
    x = random_array(1, 5, 4)
    qmodel, variables = prepared(Scanned(), x)
    for _ in range(3):
        _, updates = qmodel.apply(variables, x, mutable=["quant"])
        variables = {**variables, **updates}
    body = variables["quant"]["body"]
    (cat,) = (entry for name, entry in body.items() if "qcat" in name)
    for name in ("a", "b"):
        np.testing.assert_array_equal(body[name]["output_quantizer"]["scale"], cat["output_quantizer"]["scale"])
    assert body["a"]["output_quantizer"]["scale"].shape == (3,)

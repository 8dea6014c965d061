"""remat and scan carry quantizer state, and compute what the unrolled model computes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from tests.interpret.steps import TQT, gradients, same_bits, trained
from tests.models import Scanned, Unrolled, prepared, random_array

X = random_array(0, 6, 4)
CONFIGS = pytest.mark.parametrize("config", [None, TQT], ids=["MOM", "TQT"])


def unrolled_variables(variables, length):
    """Variables of ``Scanned`` as those of ``Unrolled``: a slice for each step."""

    def unrolled(collection):
        steps = collection["steps"]
        slices = {f"step_{i}": jax.tree.map(lambda a, i=i: a[i], steps) for i in range(length)}
        return {"entry": collection["entry"], **slices}

    return {name: unrolled(collection) for name, collection in variables.items()}


@CONFIGS
@pytest.mark.parametrize("remat", [False, True], ids=["plain", "remat"])
def test_scan_over_stacked_parameters_equals_the_unrolled_model_bit_for_bit(config, remat):
    scanned, variables = prepared(Scanned(remat=remat), X, config=config)
    unrolled = linger_jax.init(Unrolled(), config)
    apart = unrolled.adopt(unrolled_variables(variables, 3), X)
    same_bits(apart, unrolled_variables(variables, 3))
    for step in range(3):
        x = random_array(step, 6, 4)
        output, variables = trained(scanned, variables, x)
        wanted, apart = trained(unrolled, apart, x)
        same_bits(output, wanted)
        same_bits(unrolled_variables(variables, 3), apart)
    same_bits(scanned.apply(variables, X), unrolled.apply(apart, X))


@CONFIGS
def test_scan_with_one_set_of_parameters_equals_the_shared_module_bit_for_bit(config):
    scanned, variables = prepared(Scanned(stacked=False), X, config=config)
    unrolled = linger_jax.init(Unrolled(stacked=False), config)
    same_bits(unrolled.adopt(variables, X), variables)
    other = variables
    for step in range(3):
        x = random_array(step, 6, 4)
        output, variables = trained(scanned, variables, x)
        wanted, other = trained(unrolled, other, x)
        same_bits(output, wanted)
        same_bits(variables, other)
    same_bits(scanned.apply(variables, X), unrolled.apply(other, X))


@CONFIGS
@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "one set"])
def test_gradients_of_a_scan_are_those_of_the_unrolled_model(config, stacked):
    scanned, variables = prepared(Scanned(stacked=stacked), X, config=config)
    unrolled = linger_jax.init(Unrolled(stacked=stacked), config)
    apart = unrolled_variables(variables, 3) if stacked else variables
    ours = gradients(scanned, variables, X)
    wanted = gradients(unrolled, apart, X)
    ours = unrolled_variables({"params": ours}, 3)["params"] if stacked else ours
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, wanted)
    assert np.any(np.asarray(ours["entry"]["kernel"]) != 0)
    if config:
        assert np.any(np.asarray(ours["entry"]["output_quantizer"]["learning_data"]) != 0)


@CONFIGS
@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "one set"])
def test_calibration_of_a_scan_equals_that_of_the_unrolled_model(config, stacked):
    scanned, variables = prepared(Scanned(stacked=stacked), X, config=config)
    unrolled = linger_jax.init(Unrolled(stacked=stacked), config)
    apart = unrolled_variables(variables, 3) if stacked else variables
    batches = [X, random_array(1, 6, 4)]
    ours = linger_jax.calibrate(scanned, variables, batches, progress=False)
    wanted = linger_jax.calibrate(unrolled, apart, batches, progress=False)
    same_bits(unrolled_variables(ours, 3) if stacked else ours, wanted)


@CONFIGS
def test_weights_outside_the_clamp_are_clamped_alike_in_a_scan_and_unrolled(config):
    """Variables that were not adopted: the first step clamps in its forward pass, in every iteration."""
    clamped = {**(config or {}), "clamp_info": {"clamp_factor_value": 7}}
    scanned, variables = prepared(Scanned(stacked=False), X, config=clamped)
    unrolled = linger_jax.init(Unrolled(stacked=False), clamped)
    kernel = variables["params"]["steps"]["dense"]["kernel"]
    variables["params"]["steps"]["dense"]["kernel"] = jnp.zeros_like(kernel).at[0, 0].set(8.0)
    flag = variables["quant"]["steps"]["dense"]["weight_quantizer"]
    flag["is_init_mom_clamp_weight"] = jnp.asarray(False)
    out, updates = scanned.apply(variables, X, mutable=["quant", "params"])
    wanted, wanted_updates = unrolled.apply(variables, X, mutable=["quant", "params"])
    same_bits(out, wanted)
    same_bits(updates, wanted_updates)
    expected = 8.0 if config else 8.0 * 7 / 16
    assert float(updates["params"]["steps"]["dense"]["kernel"][0, 0]) == expected


class Nested(nn.Module):
    """A scan over stacked steps, each of which runs a scan with one set of parameters."""

    @nn.compact
    def __call__(self, x):
        class Inner(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return nn.relu(nn.Dense(4, name="dense")(x)), None

        class Outer(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                inner = nn.scan(Inner, variable_broadcast="params", split_rngs={"params": False}, length=2)
                x, _ = inner(name="inner")(x, None)
                return nn.Dense(4, name="after")(x), None

        x = nn.Dense(4, name="entry")(x)
        outer = nn.scan(Outer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return outer(name="outer")(x, None)[0]


def test_scan_inside_a_scan_stacks_by_the_outer_one_and_carries_through_the_inner_one():
    qmodel, variables = prepared(Nested(), X)
    shape = variables["quant"]["outer"]["inner"]["dense"]["output_quantizer"]["running_data"].shape
    assert shape == (3,)
    output, variables = trained(qmodel, variables, X)
    output, variables = trained(qmodel, variables, X)
    assert np.all(np.isfinite(output))
    state = variables["quant"]["outer"]["inner"]["dense"]["output_quantizer"]
    assert np.all(np.asarray(state["running_data"]) > 0)


@CONFIGS
def test_remat_changes_nothing(config):
    class Net(nn.Module):
        remat: bool

        @nn.compact
        def __call__(self, x):
            make = nn.remat(nn.Dense) if self.remat else nn.Dense
            x = nn.relu(make(8, name="a")(x))
            return make(3, name="b")(x)

    with_remat, variables = prepared(Net(True), X, config=config)
    without = linger_jax.init(Net(False), config)
    same_bits(trained(with_remat, variables, X), trained(without, variables, X))
    same_bits(gradients(with_remat, variables, X), gradients(without, variables, X))


def test_remat_of_operators_names_them_as_without():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + nn.Dense(4, name="dense")(x)

    def net(make):
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                return make(name="block")(nn.Dense(4, name="entry")(x))

        return Net()

    one, variables = prepared(net(nn.remat(Block)), X)
    two, others = prepared(net(Block), X)
    same_bits(variables, others)
    same_bits(trained(one, variables, X), trained(two, others, X))


def test_layers_in_cond_and_while_run_as_the_float_model():
    class Branching(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4, name="entry")(x)
            inner = nn.Dense(4, name="inner")
            inner(x)
            return nn.cond(jnp.sum(x) > 0, lambda m, x: m(x), lambda m, x: -m(x), inner, x)

    qmodel, variables = prepared(Branching(), X)
    output, variables = trained(qmodel, variables, X)
    hidden, _ = trained(*prepared_entry(variables), X)
    params = variables["params"]["inner"]
    wanted = hidden @ params["kernel"] + params["bias"][None]
    np.testing.assert_allclose(output, np.where(np.sum(hidden) > 0, wanted, -wanted), rtol=1e-6, atol=1e-6)


def prepared_entry(variables):
    """The entry layer alone, with the state it had before its first step."""
    entry = linger_jax.init(nn.Dense(4))
    return entry, entry.adopt({"params": variables["params"]["entry"]}, X)


def test_scan_of_the_user_s_own_over_quantized_inputs_computes_in_float_and_is_exact():
    class Cumulative(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4, name="entry")(x)
            return jax.lax.scan(lambda c, y: (c + y, c + y), jnp.zeros(4), x)[1]

    qmodel, variables = prepared(Cumulative(), X)
    output, _ = trained(qmodel, variables, X)
    hidden, _ = trained(*prepared_entry(variables), X)
    np.testing.assert_allclose(output, np.cumsum(hidden, 0), rtol=1e-6)


class Barriers(nn.Module):
    """A checkpoint that keeps the compiler from sharing computations of one of its operands, but not of the other."""

    checkpointed: bool

    @nn.compact
    def __call__(self, x):
        def block(x, kernel):
            return nn.relu(x @ kernel) + x

        block = jax.checkpoint(block, prevent_cse=(True, False)) if self.checkpointed else block
        return nn.Dense(2)(block(x, self.param("kernel", nn.initializers.lecun_normal(), (4, 4))))


def test_a_checkpoint_with_a_flag_for_each_operand_computes_what_it_holds():
    qmodel, variables = prepared(Barriers(True), X)
    plain, same = prepared(Barriers(False), X)
    same_bits(variables, same)
    same_bits(trained(qmodel, variables, X), trained(plain, same, X))
    ours, wanted = gradients(qmodel, variables, X), gradients(plain, same, X)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, wanted)

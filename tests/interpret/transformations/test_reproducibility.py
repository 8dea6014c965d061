"""The same bits whatever surrounds a call: jit or not, wide types enabled or not, one device or many."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import linger_jax
from tests.interpret.steps import TQT, gradients, same_bits, trained
from tests.models import Mlp, ResidualCnn, prepared, random_array

ROOT = Path(__file__).parents[3]
X = random_array(0, 16, 8, 8, 4)
CONFIGS = pytest.mark.parametrize("config", [None, TQT], ids=["MOM", "TQT"])


def two_steps(qmodel, variables):
    """Outputs, variables after two training steps, and an evaluation behind them."""
    first, variables = trained(qmodel, variables, X, train=True)
    second, variables = trained(qmodel, variables, X[::-1], train=True)
    return first, second, qmodel.apply(variables, X), variables


@CONFIGS
def test_results_do_not_depend_on_jit(config):
    qmodel, variables = prepared(ResidualCnn(blocks=1), X, config=config)
    wanted = two_steps(qmodel, variables)
    inside = jax.jit(lambda v: two_steps(qmodel, v))(variables)
    same_bits(inside, wanted)


def test_results_do_not_depend_on_compilation():
    x = random_array(1, 8, 5)
    qmodel, variables = prepared(Mlp(), x)
    wanted = trained(qmodel, variables, x)
    with jax.disable_jit():
        eager = linger_jax.init(Mlp())
        assert eager.plan(variables, x) == qmodel.plan(variables, x)
        same_bits(trained(eager, variables, x), wanted)


@CONFIGS
def test_results_do_not_depend_on_wide_types(config):
    x = random_array(1, 4, 8, 8, 4)
    qmodel, variables = prepared(ResidualCnn(blocks=1), x, config=config)
    output, after = trained(qmodel, variables, x, train=True)
    slopes = gradients(qmodel, variables, x, train=True)
    with jax.enable_x64(True):
        wide = linger_jax.init(ResidualCnn(blocks=1), config)
        same_bits(wide.adopt({k: v for k, v in variables.items() if k != "quant"}, x), variables)
        wide_output, wide_after = trained(wide, variables, x, train=True)
        same_bits(wide_output, output)
        same_bits(wide_after, after)
        same_bits(gradients(wide, variables, x, train=True), slopes)
        same_bits(wide.apply(after, x), qmodel.apply(after, x))


@CONFIGS
def test_calibration_does_not_depend_on_wide_types(config):
    x = random_array(1, 8, 5)
    qmodel, variables = prepared(Mlp(), x, config=config)
    wanted = linger_jax.calibrate(qmodel, variables, [x, 2 * x], progress=False)
    with jax.enable_x64(True):
        ours = linger_jax.calibrate(linger_jax.init(Mlp(), config), variables, [x, 2 * x], progress=False)
    same_bits(ours, wanted)


def check_sharded_batch(devices):
    """Two training steps with the batch over all devices have the bits of one device."""
    assert len(devices) > 1
    mesh = Mesh(np.array(devices), ("batch",))
    for config in (None, TQT):
        qmodel, variables = prepared(ResidualCnn(blocks=1), X, config=config)
        step = jax.jit(lambda v, x, qmodel=qmodel: trained(qmodel, v, x, train=True))
        evaluate = jax.jit(qmodel.apply)
        one = two = variables
        sharded = NamedSharding(mesh, PartitionSpec("batch"))
        two = jax.device_put(two, NamedSharding(mesh, PartitionSpec()))
        for i in range(2):
            x = random_array(i, *X.shape)
            wanted, one = step(one, x)
            output, two = step(two, jax.device_put(x, sharded))
            assert len(output.sharding.device_set) == len(devices)
            same_bits(output, wanted)
            same_bits(two, one)
        same_bits(evaluate(two, jax.device_put(X, sharded)), evaluate(one, X))


def test_batch_over_two_devices_has_the_bits_of_one():
    check_sharded_batch(jax.devices()[:2])


@pytest.mark.slow
def test_batch_over_eight_devices_has_the_bits_of_one():
    flags = "--xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    code = (
        "import jax; from tests.interpret.transformations.test_reproducibility import check_sharded_batch; "
        "assert len(jax.devices()) == 8; check_sharded_batch(jax.devices())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_calibration_over_two_devices_has_the_bits_of_one():
    mesh = Mesh(np.array(jax.devices()[:2]), ("batch",))
    qmodel, variables = prepared(ResidualCnn(blocks=1), X)
    wanted = linger_jax.calibrate(qmodel, variables, [X], progress=False)
    spread = jax.device_put(X, NamedSharding(mesh, PartitionSpec("batch")))
    ours = linger_jax.calibrate(qmodel, variables, [spread], progress=False)
    same_bits(jax.device_get(ours), jax.device_get(wanted))


@CONFIGS
def test_gradients_are_finite_and_reach_every_kernel(config):
    qmodel, variables = prepared(ResidualCnn(blocks=1), X, config=config)
    slopes = gradients(qmodel, variables, X, train=True)
    for path, leaf in jax.tree_util.tree_leaves_with_path(slopes):
        name = jax.tree_util.keystr(path)
        assert np.all(np.isfinite(leaf)), name
        if "kernel" in name:
            assert np.any(np.asarray(leaf) != 0), name


def test_gradient_is_close_to_the_float_model_s():
    """It points where the float gradient points, but for the largest values, which the rounded scale saturates."""
    model, x = Mlp(), random_array(1, 64, 5)
    qmodel, variables = prepared(model, x)
    ours = gradients(qmodel, variables, x)
    wanted = jax.grad(lambda params: jnp.sum(jnp.square(model.apply({"params": params}, x))))(variables["params"])
    for layer in ("first", "second"):
        one, other = np.ravel(ours[layer]["kernel"]), np.ravel(wanted[layer]["kernel"])
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.75

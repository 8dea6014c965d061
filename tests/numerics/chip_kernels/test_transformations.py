"""The kernels give the same integers under every transformation, wide types enabled or not, on one device or two."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linger_jax.config import Platform
from linger_jax.numerics import chip_kernels, int64
from tests.numerics.chip_kernels import integer_model as model
from tests.numerics.chip_kernels.kernel_inputs import rows_of_every_kind

N = 8
X = rows_of_every_kind(N)[-16:]
Results = dict[str, jax.Array]


def every_kernel(x: jax.Array) -> Results:
    """One kernel of each kind of arithmetic, of int32 [..., n]."""
    return {
        "gelu": chip_kernels.gelu(x, Platform.venusA),
        "sigmoid": chip_kernels.sigmoid(x, Platform.arcs, 31),
        "tanh": chip_kernels.tanh(x, Platform.venus, 15),
        "softmax venus": chip_kernels.softmax(x, Platform.venus),
        "softmax venusA": chip_kernels.softmax(x, Platform.venusA),
        "norm": normalized(x),
    }


def normalized(x: jax.Array) -> jax.Array:
    with int64.region():
        return chip_kernels.normalized(x, int64.of(jnp.max(x, axis=-1, keepdims=True)) + np.int64(2**31))


@functools.cache
def expected() -> dict[str, np.ndarray]:
    d = X.max(axis=-1, keepdims=True).astype(object) + 2**31
    wanted = {
        "gelu": model.gated(X, "gelu"),
        "sigmoid": model.requantized(model.sigmoid_raw(X, Platform.arcs), Platform.arcs, 31),
        "tanh": model.tanh_raw(X, Platform.venus),
        "softmax venus": model.softmax(X, Platform.venus),
        "softmax venusA": model.softmax(X, Platform.venusA),
        "norm": np.vectorize(model.normalized, otypes=[object])(X.astype(object), d),
    }
    return {name: values.astype(np.int64) for name, values in wanted.items()}


def check(got: Results) -> None:
    for name, wanted in expected().items():
        assert got[name].dtype == jnp.int32, name
        np.testing.assert_array_equal(got[name], wanted, err_msg=name)


@pytest.fixture(params=[False, True], ids=["x64 off", "x64 on"])
def _wide_types(request):
    with jax.enable_x64(request.param):
        yield


over_rows = functools.partial(jax.vmap, in_axes=0)
TRANSFORMED: dict[str, Callable[[jax.Array], Results]] = {
    "eager": every_kernel,
    "jit": jax.jit(every_kernel),
    "nested jit": jax.jit(lambda x: jax.jit(every_kernel)(x)),
    "vmap": over_rows(every_kernel),
    "jit of vmap of jit": jax.jit(over_rows(jax.jit(every_kernel))),
    "scan": lambda x: lax.scan(lambda c, row: (c, every_kernel(row)), None, x)[1],
    "vmap of scan": lambda x: jax.tree.map(
        lambda a: a.reshape(X.shape),
        jax.vmap(lambda x: lax.scan(lambda c, row: (c, every_kernel(row)), None, x)[1])(x.reshape(2, -1, N)),
    ),
    "remat": jax.jit(jax.checkpoint(every_kernel)),
    "cond": jax.jit(lambda x: lax.cond(x[0, 0] < 2**31 - 1, every_kernel, every_kernel, x)),
}


@pytest.mark.usefixtures("_wide_types")
@pytest.mark.parametrize("name", TRANSFORMED)
def test_every_kernel_is_the_same_under(name):
    check(TRANSFORMED[name](jnp.asarray(X)))


def beside(z: jax.Array) -> jax.Array:
    """z times every kernel of z's integers, which carry no gradient."""
    return z * lax.stop_gradient(sum_of_kernels(z))


@jax.custom_vjp
def inside(z: jax.Array) -> jax.Array:
    """The kernels' sum; its derivative is defined to be the sum itself."""
    return sum_of_kernels(z)


inside.defvjp(lambda z: (inside(z), z), lambda z, g: (g * inside(z),))


def sum_of_kernels(z: jax.Array) -> jax.Array:
    """float32 of a mixture of all kernels' bits."""
    results = every_kernel(lax.convert_element_type(lax.stop_gradient(z), jnp.int32))
    return lax.convert_element_type(functools.reduce(lax.bitwise_xor, results.values()), jnp.float32)


def summed(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    return lambda z: jnp.sum(function(z))


def over_scan(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    return lambda z: lax.scan(lambda total, row: (total + jnp.sum(function(row)), None), jnp.float32(0), z)[0]


@pytest.mark.usefixtures("_wide_types")
@pytest.mark.parametrize("function", [beside, inside])
def test_every_kernel_is_the_same_in_a_differentiated(function):
    z = (X >> 7).astype(np.float32)
    wanted = np.asarray(sum_of_kernels(jnp.asarray(z)))
    remat = jax.checkpoint(function)
    slopes = [jax.grad(over_scan(remat)), jax.vmap(jax.grad(summed(jax.jit(function)))), jax.grad(summed(remat))]
    got = jax.jit(lambda z: [slope(z) for slope in slopes])(z)
    for gradient in (*got, jax.grad(over_scan(remat))(jnp.asarray(z))):
        np.testing.assert_array_equal(gradient, wanted)


@pytest.mark.parametrize("spec", [PartitionSpec("device"), PartitionSpec(None, "device")], ids=["rows", "along rows"])
def test_every_kernel_is_the_same_on_two_devices(spec):
    mesh = Mesh(np.array(jax.devices()[:2]), ("device",))
    check(jax.jit(every_kernel)(jax.device_put(X, NamedSharding(mesh, spec))))


def test_every_kernel_is_the_same_in_a_sharded_map():
    mesh = Mesh(np.array(jax.devices()[:2]), ("device",))
    rows = PartitionSpec("device")
    check(jax.jit(jax.shard_map(every_kernel, mesh=mesh, in_specs=rows, out_specs=rows))(X))

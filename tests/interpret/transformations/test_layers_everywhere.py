"""LayerNorm, GLU and SparifyFFN inside remat and scan, with a batch over two devices, with x64: the same bits."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linger_jax.nn import SparifyFFN
from tests.interpret.steps import same_bits, trained
from tests.models import prepared, random_array

X = random_array(0, 4, 6, 8)


class Block(nn.Module):
    """One of each."""

    @nn.compact
    def __call__(self, x, _=None):
        y = nn.glu(nn.Dense(16, name="gate")(nn.LayerNorm(epsilon=1e-5, name="norm")(x)))
        return x + SparifyFFN(8, 16, name="ffn")(y), None


class Plain(nn.Module):
    """Blocks one after another."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="entry")(x)
        for i in range(2):
            x, _ = Block(name=f"block{i}")(x)
        return x


class Rematted(nn.Module):
    """The same, rematerialized."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="entry")(x)
        for i in range(2):
            x, _ = nn.remat(Block)(name=f"block{i}")(x)
        return x


class Scanned(nn.Module):
    """Blocks with stacked parameters."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="entry")(x)
        axes = {"params": 0, "sparify": 0}
        return nn.scan(Block, variable_axes=axes, split_rngs={"params": True}, length=2)(name="blocks")(x, None)[0]


def one_step(model):
    qmodel, variables = prepared(model, X)
    return qmodel, variables, jax.jit(lambda v, x: trained(qmodel, v, x))


def test_remat_changes_nothing():
    _, variables, step = one_step(Plain())
    _, _, rematted_step = one_step(Rematted())
    same_bits(rematted_step(variables, X), step(variables, X))


def test_a_scan_over_stacked_blocks_is_the_blocks_one_after_another():
    _, variables, step = one_step(Scanned())
    _, unrolled, plain_step = one_step(Plain())

    def slice_of(i, tree):
        return jax.tree.map(lambda leaf: leaf[i], tree)

    for name in ("params", "quant", "sparify"):
        unrolled[name] = {**variables[name], **{f"block{i}": slice_of(i, variables[name]["blocks"]) for i in range(2)}}
        del unrolled[name]["blocks"]
    y, after = step(variables, X)
    wanted, wanted_after = plain_step(unrolled, X)
    same_bits(y, wanted)
    for i in range(2):
        same_bits(slice_of(i, after["quant"]["blocks"]), wanted_after["quant"][f"block{i}"])


@pytest.mark.skipif(len(jax.devices()) < 2, reason="needs two devices")
def test_a_batch_over_two_devices_has_the_bits_of_one():
    _, variables, step = one_step(Plain())
    mesh = Mesh(np.array(jax.devices()[:2]), ("batch",))
    sharded = jax.device_put(X, NamedSharding(mesh, PartitionSpec("batch")))
    same_bits(jax.device_get(step(variables, sharded)), jax.device_get(step(variables, X)))


def test_wide_types_change_nothing():
    qmodel, variables, step = one_step(Plain())
    wanted = step(variables, X)
    with jax.enable_x64(True):
        same_bits(jax.jit(lambda v, x: trained(qmodel, v, x))(variables, X), wanted)
    assert wanted[0].dtype == jnp.float32

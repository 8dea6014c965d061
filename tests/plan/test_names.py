"""Names of quantizers: layers under their module path, operators counted by owner.

Source: docs/specification/ops.md section 7.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tests.models import Mlp, ResidualCnn, Scanned, Shared
from tests.plan.planned import planned

X = jax.ShapeDtypeStruct((2, 4), jnp.float32)


def names(plan):
    return [".".join(path) for path in plan.quantizers]


def operator_names(plan):
    return [row.name for row in plan.rows() if "_linger_" in row.name]


def test_each_layer_kind_keeps_the_quantizers_of_the_reference():
    class Every(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(5, 4, name="embed")(tokens)
            x = nn.Conv(4, (3,), use_bias=False, name="conv")(x)
            x = nn.BatchNorm(use_running_average=True, name="norm")(x)
            x = nn.Dense(4, use_bias=False, name="plain")(x)
            return nn.Dense(4, name="dense")(x)

    assert names(planned(Every(), np.ones((2, 6), np.int32))) == [
        "embed.weight_quantizer",
        "embed.bias_quantizer",
        *(f"conv.{q}_quantizer" for q in ("input", "weight", "bias", "output")),
        *(f"norm.{q}_quantizer" for q in ("input", "weight", "bias", "output")),
        *(f"plain.{q}_quantizer" for q in ("input", "weight", "output")),
        *(f"dense.{q}_quantizer" for q in ("input", "weight", "output", "bias")),
    ]


def test_quantizers_that_only_record_a_scale_are_inactive():
    plan = planned(Mlp(), X)
    inactive = [".".join(path) for path, quantizer in plan.quantizers.items() if not quantizer.active]
    assert inactive == ["second.input_quantizer"]


def test_weight_and_bias_quantizers_know_the_parameter_they_read():
    plan = planned(ResidualCnn(blocks=1), jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.float32))
    read = {".".join(path): q.parameter for path, q in plan.quantizers.items() if q.parameter}
    assert read == {
        "stem.weight_quantizer": ("params", "stem", "kernel"),
        "stem.bias_quantizer": ("params", "stem", "bias"),
        "block_0.conv.weight_quantizer": ("params", "block_0", "conv", "kernel"),
        "head.weight_quantizer": ("params", "head", "kernel"),
        "head.bias_quantizer": ("params", "head", "bias"),
    }


class Operators(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, name="layer")(x)
        return jnp.concatenate([x + x, x * x], -1) @ jnp.ones((8, 2))


def test_all_operators_of_an_owner_share_one_counter():
    assert operator_names(planned(Operators(), X)) == [
        "_linger_qtensor_qadd_0",
        "_linger_qtensor_qmul_1",
        "_linger_qtensor_qcat_2",
        "_linger_qtensor_qmatmul_3",
    ]


def test_operator_has_one_input_quantizer_an_operand():
    plan = planned(Operators(), X)
    at = "_linger_qtensor_qmatmul_3."
    assert [n for n in names(plan) if n.startswith(at)] == [
        f"{at}input_quantizer.0",
        f"{at}input_quantizer.1",
        f"{at}output_quantizer",
    ]


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + x


class Outer(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, name="layer")(x) + 1.0
        x = Inner(name="inner")(x)
        return x * 2.0


def test_each_owner_counts_for_itself_and_goes_on_after_its_children():
    assert operator_names(planned(Outer(), X)) == [
        "_linger_qtensor_qadd_0",
        "inner._linger_qtensor_qadd_0",
        "_linger_qtensor_qmul_1",
    ]


def test_counter_starts_again_at_each_call_of_a_shared_module():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            inner = Inner(name="inner")
            return inner(inner(nn.Dense(4, name="layer")(x)))

    plan = planned(Twice(), X)
    assert operator_names(plan) == ["inner._linger_qtensor_qadd_0"] * 2
    assert plan.quantizers["inner", "_linger_qtensor_qadd_0", "output_quantizer"].visits == 2


def test_shared_layer_has_one_set_of_quantizers():
    plan = planned(Shared(), X)
    assert {path[0] for path in plan.quantizers} == {"dense"}
    assert {path[1]: q.visits for path, q in plan.quantizers.items()} == {
        "input_quantizer": 1,
        "weight_quantizer": 2,
        "output_quantizer": 2,
        "bias_quantizer": 2,
    }


class Coder(nn.Module):
    def setup(self):
        self.layer = nn.Dense(4)

    def encode(self, x):
        return self.layer(x) + 1.0

    def decode(self, z):
        return self.layer(z) * 2.0

    def __call__(self, x):
        return self.decode(self.encode(x))


def test_operators_of_methods_that_call_runs_are_counted_with_its_own():
    assert operator_names(planned(Coder(), X)) == ["_linger_qtensor_qadd_0", "_linger_qtensor_qmul_1"]


def test_method_that_is_entered_from_outside_names_its_operators_itself():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            coder = Coder(name="coder")
            return coder.decode(coder.encode(x))

    assert operator_names(planned(Net(), X)) == [
        "coder.encode._linger_qtensor_qadd_0",
        "coder.decode._linger_qtensor_qmul_0",
    ]
    plan = planned(Coder(), X, method="decode")
    assert operator_names(plan) == ["decode._linger_qtensor_qmul_0"]


def test_under_the_reference_a_method_s_operators_belong_to_the_call_around_it():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            coder = Coder(name="coder")
            return coder.decode(coder.encode(x))

    reference = {"compat": "reference"}
    plan = planned(Net(), X, config=reference)
    assert operator_names(plan) == ["_linger_qtensor_qadd_0", "_linger_qtensor_qmul_1"]
    alone = planned(Coder(), X, method="decode", config=reference)
    assert [(r.op, r.status, r.reason) for r in alone.rows()][1:] == [("mul", "float", "belongs to no module")]


def test_owner_is_left_when_a_module_raises():
    class Fallible(nn.Module):
        @nn.compact
        def __call__(self, x):
            raise KeyError

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4, name="layer")(x)
            try:
                Fallible(name="inner")(x)
            except KeyError:
                return x + 1.0

    assert operator_names(planned(Net(), X)) == ["_linger_qtensor_qadd_0"]


def test_pools_have_a_counter_of_their_own():
    class Pools(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (1, 1), name="conv")(x)
            return jnp.mean(x + 1.0, (1, 2)) + jnp.mean(x, (1, 2))

    plan = planned(Pools(), jax.ShapeDtypeStruct((2, 6, 6, 4), jnp.float32))
    assert operator_names(plan) == [
        "_linger_qtensor_qadd_0",
        "_linger_avg_pool_0",
        "_linger_avg_pool_1",
        "_linger_qtensor_qadd_1",
    ]


def test_state_of_scanned_layers_is_stacked_as_their_parameters_are():
    plan = planned(Scanned(), X)
    assert {path[0]: q.stack for path, q in plan.quantizers.items()} == {"entry": (), "steps": (3,)}
    plan = planned(Scanned(stacked=False), X)
    assert {path[0]: q.stack for path, q in plan.quantizers.items()} == {"entry": (), "steps": ()}
    assert plan.quantizers["steps", "dense", "weight_quantizer"].visits == 3

"""Parts of a configuration reach the layers and operators that their names match, and nothing else."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.errors import PlatformLimitError
from linger_jax.plan import PlanError
from linger_jax.quantizers import QuantizerKind
from tests.models import Mlp
from tests.plan.planned import planned, row_of

X = jax.ShapeDtypeStruct((2, 4), jnp.float32)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = Mlp(classes=4, name="body")(x)
        return nn.Dense(4, name="head")(x + 1.0)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="layer")(x) * 2.0


def bits(plan, *path):
    return plan.quantizers[path].spec.bits


def test_part_gives_its_layers_other_bits():
    config = {"part1": {"name": "body.second", "quant_info": {"weight_bits": 4, "input_bits": 16, "output_bits": 12}}}
    plan = planned(Net(), X, config=config)
    at = ("body", "second")
    assert [bits(plan, *at, f"{q}_quantizer") for q in ("input", "weight", "bias", "output")] == [16, 4, 32, 12]
    assert [bits(plan, "body", "first", f"{q}_quantizer") for q in ("input", "weight", "output")] == [8, 8, 8]
    assert row_of(plan, "body.second").bits == 12


def test_first_part_that_names_a_layer_counts():
    config = {
        "part1": {"name": ["body.first"], "quant_info": {"weight_bits": 4}},
        "part2": {"name": ["body"], "quant_info": {"weight_bits": 16}},
    }
    plan = planned(Net(), X, config=config)
    assert bits(plan, "body", "first", "weight_quantizer") == 4
    assert bits(plan, "body", "second", "weight_quantizer") == 16
    assert bits(plan, "head", "weight_quantizer") == 8


def test_part_gives_its_layers_other_clamps():
    part = {"name": "head", "clamp_info": {"clamp_activation_value": 4, "clamp_factor_value": None}}
    config = {"part1": part, "clamp_info": {}}
    plan = planned(Net(), X, config=config)
    assert plan.quantizers["head", "output_quantizer"].spec.clamp_value == 4.0
    assert plan.quantizers["head", "weight_quantizer"].spec.clamp_factor is None
    assert plan.quantizers["body", "first", "weight_quantizer"].spec.clamp_factor == 7.0


def test_operator_takes_the_bits_of_its_owner_s_part():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Block(name="block")(x) * 3.0

    config = {"part1": {"name": ["block"], "quant_info": {"activate_bits": 16}}}
    inner, outer = (
        ("block", "_linger_qtensor_qmul_0", "output_quantizer"),
        ("_linger_qtensor_qmul_0", "output_quantizer"),
    )
    plan = planned(Outer(), X, config=config)
    assert (bits(plan, *inner), bits(plan, *outer)) == (16, 8)
    plan = planned(Outer(), X, config={**config, "compat": "reference"})
    assert (bits(plan, *inner), bits(plan, *outer)) == (8, 8)


def test_pool_at_the_scale_of_its_input_has_its_input_s_bits():
    class Pool(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.mean(nn.Conv(4, (1, 1), name="conv")(x), (1, 2))

    config = {"part1": {"name": ["conv"], "quant_info": {"output_bits": 16}}}
    image = jax.ShapeDtypeStruct((2, 6, 6, 4), jnp.float32)
    assert row_of(planned(Pool(), image, config=config), "_linger_avg_pool_0").bits == 16
    assert row_of(planned(Pool(), image, config={**config, "compat": "reference"}), "_linger_avg_pool_0").bits == 8


def test_incoming_bits_are_not_those_of_the_layer_s_own_input_quantizer():
    config = {"part1": {"name": "body.first", "quant_info": {"output_bits": 16}}}
    plan = planned(Net(), X, config=config)
    quantizer = plan.quantizers["body", "second", "input_quantizer"]
    assert (quantizer.spec.bits, quantizer.active) == (8, False)


def test_part_that_names_no_module_is_an_error_with_the_nearest_name():
    config = {
        "part1": {"name": ["haed", "body"], "quant_info": {"weight_bits": 4}},
        "part2": {"name": "zzz", "quant_info": {"weight_bits": 4}},
    }
    with pytest.raises(PlanError) as error:
        planned(Net(), X, config=config)
    lines = str(error.value).splitlines()
    assert lines[0] == "configuration: part name 'haed' matches no module of the model; did you mean 'head'?"
    assert lines[1].startswith("configuration: part name 'zzz' matches no module of the model; the modules are: body,")


def test_part_that_names_no_module_is_ignored_under_the_reference():
    config = {"compat": "reference", "part1": {"name": ["haed"], "quant_info": {"weight_bits": 4}}}
    assert bits(planned(Net(), X, config=config), "head", "weight_quantizer") == 8


def test_rounding_of_the_configuration_reaches_activations_only():
    plan = planned(Net(), X, config={"quant_info": {"round_mode": "floor"}})
    for quantizer in plan.quantizers.values():
        activation = quantizer.spec.kind is QuantizerKind.activation
        assert quantizer.spec.rounding.name == ("floor" if activation else "round")


def test_part_that_names_a_custom_layer_reaches_it_alone():
    class Raw(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", nn.initializers.ones, (4, 4))
            v = self.param("v", nn.initializers.ones, (4, 4))
            return x @ w @ v

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Raw(name="raw")(x)

    info = {"weight_bits": 4, "input_bits": 16, "output_bits": 12}
    plan = planned(Outer(), X, config={"part1": {"name": "raw.w", "quant_info": info}})
    assert [bits(plan, "raw", "w", f"{q}_quantizer") for q in ("input", "weight", "output")] == [16, 4, 12]
    assert [bits(plan, "raw", "v", f"{q}_quantizer") for q in ("weight", "output")] == [8, 8]
    assert (row_of(plan, "raw.w").bits, row_of(plan, "raw.v").bits) == (12, 8)
    whole = planned(Outer(), X, config={"part1": {"name": "raw", "quant_info": info}})
    assert [bits(whole, "raw", name, "weight_quantizer") for name in "wv"] == [4, 4]
    with pytest.raises(
        PlanError, match=r"part name 'raw\.u' matches no module of the model; did you mean 'raw\.[wv]'\?"
    ):
        planned(Outer(), X, config={"part1": {"name": "raw.u", "quant_info": info}})


def test_part_gives_a_shared_table_one_width_for_look_up_and_product():
    class Tied(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            table = nn.Embed(5, 4, name="table")
            return table.attend(table(tokens))

    config = {"part1": {"name": "table", "quant_info": {"weight_bits": 4, "output_bits": 16}}}
    plan = planned(Tied(), np.array([[1, 2]], np.int32), config=config)
    assert bits(plan, "table", "weight_quantizer") == 4
    assert ("table", "embedding", "weight_quantizer") not in plan.quantizers
    assert [row.bits for row in plan.rows()] == [4, 16]


def test_part_gives_the_operators_of_its_module_the_bits_of_its_activations():
    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.Dense(4, name="layer")(x)
            return jax.nn.softmax(y @ y.T) @ y

    config = {"part1": {"name": "inner", "quant_info": {"activate_bits": 16}}}

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Attention(name="inner")(x) + 1.0

    plan = planned(Outer(), X, config=config)
    assert {row.name.rpartition(".")[2]: row.bits for row in plan.rows() if "_linger_" in row.name} == {
        "_linger_qtensor_qmatmul_0": 16,
        "_linger_qtensor_qsoftmax_1": 16,
        "_linger_qtensor_qmatmul_2": 16,
        "_linger_qtensor_qadd_0": 8,
    }


def test_part_that_names_a_recurrent_layer_reaches_all_of_its_quantizers():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.RNN(nn.LSTMCell(4), name="first")(x)
            return nn.RNN(nn.LSTMCell(4), name="second")(x)

    sequence = jax.ShapeDtypeStruct((2, 5, 4), jnp.float32)
    config = {"part1": {"name": "first", "quant_info": {"weight_bits": 4, "input_bits": 16}}}
    plan = planned(Net(), sequence, config=config)
    weights = {
        path[0]: {q.spec.bits for p, q in plan.quantizers.items() if p[0] == path[0] and "weight" in p[-1]}
        for path in plan.quantizers
    }
    assert weights == {"first": {4}, "second": {8}}
    assert bits(plan, "first", "input_quantizer") == 16
    assert bits(plan, "second", "input_quantizer") == 8


@pytest.mark.parametrize("platform", ["venus", "arcs", "mars", "venusA"])
def test_limits_of_the_platform_hold_inside_a_part_and_are_checked_when_the_plan_is_made(platform):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Conv(2, (3, 3), (3, 3), name="conv")(x)

    image = jax.ShapeDtypeStruct((2, 9, 9, 4), jnp.float32)
    config = {"platform": platform, "part1": {"name": "conv", "quant_info": {"weight_bits": 4}}}
    with pytest.raises(PlatformLimitError, match=rf"layer 'conv': stride 3 is outside what {platform} can run"):
        planned(Net(), image, config=config)
    plan = planned(Net(), image, config=config, disable_submodel="conv")
    assert row_of(plan, "conv").status == "disabled"

"""Parts of a configuration reach the layers and operators that their names match, and nothing else."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

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
    config = {"part1": {"name": "head", "clamp_info": {"clamp_activation_value": 4, "clamp_factor_value": None}}}
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

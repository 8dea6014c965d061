"""Converting a model: what is quantized, what a name stands for, which limits hold.

Source: docs/specification/config.md section 2.
"""

import flax.linen as nn
import jax
import pytest

import linger_jax
from linger_jax import LingerError, LingerWarning
from tests.models import Calls, initialised, normal

KEY = jax.random.key(0)


class Two(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="second")(nn.relu(nn.Dense(4, name="first")(x)))


def test_a_root_module_that_is_itself_a_layer_is_quantized():
    qmodel = linger_jax.init(nn.Dense(3))
    variables = initialised(qmodel, normal(2, 5))
    assert set(variables["quant"]) == {"input_quantizer", "weight_quantizer", "bias_quantizer", "output_quantizer"}
    assert [row.status for row in qmodel.plan(variables, normal(2, 5)).rows()] == ["quantized"]


def test_one_module_used_in_two_places_has_one_set_of_quantizers():
    class Shared(nn.Module):
        def setup(self):
            self.layer = nn.Dense(4)
            self.alias = self.layer

        def __call__(self, x):
            return self.alias(self.layer(x))

    x = normal(2, 4)
    qmodel = linger_jax.init(Shared())
    variables = initialised(qmodel, x)
    assert set(variables["quant"]) == {"layer"}
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    first = linger_jax.init(nn.Dense(4))
    inner = {"params": variables["params"]["layer"], "quant": variables["quant"]["layer"]}
    _, once = first.apply(inner, x, mutable=["quant"])
    moved = updates["quant"]["layer"]["output_quantizer"]["running_data"]
    assert moved != once["quant"]["output_quantizer"]["running_data"], "the second call moves the statistic again"


def test_constrained_weights_flow_into_a_fresh_quantized_model():
    x = normal(2, 6)
    cmodel = linger_jax.constrain(Two(), {"clamp_info": {"clamp_factor_value": 1}})
    variables = initialised(cmodel, x)
    assert "quant" not in variables
    qmodel = linger_jax.init(Two())
    adopted = qmodel.adopt(variables, x)
    assert jax.tree.structure(linger_jax.constrain(Two()).adopt(adopted, x)) == jax.tree.structure(variables)


def test_disable_module_holds_for_one_call_only():
    x = normal(2, 6)
    with pytest.raises(LingerError, match="no layer to quantize"):
        linger_jax.init(Two(), disable_module=nn.Dense).init(KEY, x)
    assert set(linger_jax.init(Two()).init(KEY, x)["quant"]) == {"first", "second"}


def test_a_trailing_star_names_the_level_and_everything_below():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Two(name="fc10")(Two(name="fc1")(x))

    qmodel = linger_jax.init(Outer(), disable_submodel=("fc1*",))
    assert set(qmodel.init(KEY, normal(2, 6))["quant"]) == {"fc10"}


def test_a_pattern_that_matches_nothing_warns_and_is_an_error_when_strict():
    x = normal(2, 6)
    with pytest.warns(LingerWarning, match=r"'sceond\*' matches no module.*second"):
        linger_jax.init(Two(), disable_submodel="sceond*").init(KEY, x)
    with pytest.raises(LingerError, match=r"'sceond\*' matches no module.*second"):
        linger_jax.init(Two(), disable_submodel="sceond*", strict=True).init(KEY, x)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kernel_size": (13, 1)}, r"kernel 13 .*venusA.*1 to 12"),
        ({"kernel_size": (3, 3), "strides": (3, 3)}, r"stride 3 .*venusA.*1, 2, 4"),
        ({"kernel_size": (3, 3), "padding": ((12, 0), (0, 0))}, r"padding 12 .*venusA.*0 to 11"),
    ],
)
def test_platform_limits_name_layer_platform_value_and_range(arguments, text):
    def model(x):
        return nn.Conv(2, name="stem", **arguments)(x)

    with pytest.raises(LingerError, match=r"stem.*" + text):
        linger_jax.init(Calls(model)).init(KEY, normal(1, 16, 16, 1))


def test_padding_strings_are_resolved_to_numbers_and_checked():
    x = normal(1, 32, 32, 1)
    assert linger_jax.init(nn.Conv(2, (5, 5), padding="SAME")).init(KEY, x)["quant"]
    wide = nn.Conv(2, (12, 12), padding="SAME", kernel_dilation=(3, 3))
    with pytest.raises(LingerError, match=r"padding 1[67]"):
        linger_jax.init(wide).init(KEY, x)

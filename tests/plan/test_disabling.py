"""disable_module, disable_submodel and strict: what stays float because the user said so, and what else does."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from linger_jax import LingerWarning
from linger_jax.plan import PlanError
from tests.models import Mlp, ResidualCnn, Scanned
from tests.plan.planned import planned, row_of, summary

X = jax.ShapeDtypeStruct((2, 4), jnp.float32)
IMAGE = jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.float32)


class Tree(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Mlp(classes=4, name="fc10")(Mlp(classes=4, name="fc1")(x))


def disabled(plan):
    return [row.name for row in plan.rows() if row.status == "disabled"]


@pytest.mark.parametrize("pattern", ["fc1", "fc1*"])
def test_submodel_is_disabled_with_everything_below_it_and_nothing_beside_it(pattern):
    plan = planned(Tree(), X, disable_submodel=(pattern,))
    assert disabled(plan) == ["fc1.first", "fc1.second"]
    assert row_of(plan, "fc10.first").status == "quantized"
    assert row_of(plan, "fc1.first").reason == f"disable_submodel {pattern!r}"


def test_one_name_needs_no_tuple():
    assert disabled(planned(Tree(), X, disable_submodel="fc1.first")) == ["fc1.first"]


def test_star_alone_names_the_whole_model():
    assert len(disabled(planned(Tree(), X, disable_submodel="*"))) == 4


def test_operators_of_a_disabled_module_stay_float_but_scales_pass_its_moves():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return (x + x).reshape(-1), x.reshape(-1)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            a, b = Block(name="block")(nn.Dense(4, name="layer")(x))
            return a + 1.0, b + 1.0

    plan = planned(Net(), X, disable_submodel="block")
    assert summary(plan)[1:] == [
        ("block", "add", "disabled"),
        ("_linger_qtensor_qadd_0", "add", "quantized"),
    ]


def test_module_type_is_disabled_wherever_it_stands():
    plan = planned(ResidualCnn(blocks=1), IMAGE, disable_module=(nn.BatchNorm, nn.Conv))
    assert disabled(plan) == ["stem", "block_0.conv", "block_0.norm"]
    assert row_of(plan, "stem").reason == "disable_module Conv"


def test_module_type_of_a_container_disables_what_is_inside():
    class Other(Mlp):
        pass

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Mlp(classes=4, name="a")(Other(classes=4, name="b")(x))

    assert disabled(planned(Net(), X, disable_module=Other)) == ["b.first", "b.second"]


def test_module_type_matches_exactly_not_its_subclasses():
    class MyDense(nn.Dense):
        pass

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return MyDense(4, name="mine")(nn.Dense(4, name="plain")(x))

    assert disabled(planned(Net(), X, disable_module=nn.Dense)) == ["plain"]


def test_recurrent_layer_is_one_row_whatever_is_inside():
    x = jax.ShapeDtypeStruct((2, 5, 4), jnp.float32)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="head")(nn.RNN(nn.SimpleCell(3), name="rnn")(nn.Dense(4, name="entry")(x)))

    plan = planned(Net(), x)
    row = row_of(plan, "rnn")
    assert (row.op, row.status, row.reason) == ("RNN", "float", "a recurrent layer over SimpleCell: not covered yet")
    assert [r.name for r in plan.rows()] == ["entry", "rnn", "head"]


def test_disabled_recurrent_cell_makes_its_layer_a_disabled_row():
    x = jax.ShapeDtypeStruct((2, 5, 4), jnp.float32)
    plan = planned(nn.Sequential([nn.Dense(4), nn.RNN(nn.LSTMCell(3))]), x, disable_module=nn.LSTMCell, strict=True)
    row = row_of(plan, "layers_1")
    assert (row.op, row.status, row.reason) == ("RNN", "disabled", "disable_module LSTMCell")


def test_pattern_that_matches_nothing_warns_with_the_nearest_name():
    with pytest.warns(LingerWarning, match="'fc2' matches no module of the model; did you mean 'fc1'"):
        planned(Tree(), X, disable_submodel="fc2")


def test_pattern_like_no_module_warns_with_all_names():
    with pytest.warns(LingerWarning, match="the modules are: first, second"):
        planned(Mlp(), X, disable_submodel="zzzzzz*")


def test_pattern_that_matches_nothing_is_an_error_when_strict():
    with pytest.raises(PlanError, match="'fc2' matches no module"):
        planned(Tree(), X, disable_submodel="fc2", strict=True)


def test_module_without_steps_of_its_own_is_known_by_name():
    class Quiet(nn.Module):
        def __call__(self, x):
            return x

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4, name="layer")(Quiet(name="quiet")(x))

    assert planned(Net(), X, disable_submodel="quiet").modules == ("quiet", "layer")


def test_reference_takes_the_star_literally_and_lets_operators_pass_to_the_next_owner():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + x

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Block(name="block")(nn.Dense(4, name="layer")(x)) * 2.0

    with pytest.warns(LingerWarning, match=r"'layer\*' matches no module"):
        plan = planned(Net(), X, disable_submodel=("layer*", "block"), config={"compat": "reference"})
    assert summary(plan) == [
        ("layer", "Dense", "quantized"),
        ("_linger_qtensor_qadd_0", "add", "quantized"),
        ("_linger_qtensor_qmul_1", "mul", "quantized"),
    ]


def test_strict_passes_a_model_that_is_covered_whole():
    plan = planned(ResidualCnn(), IMAGE, strict=True)
    assert plan.float_rows == ()


def test_strict_names_everything_that_would_run_as_float():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.softmax(nn.RMSNorm(name="norm")(nn.Dense(4, name="layer")(x)))

    with pytest.raises(PlanError) as error:
        planned(Net(), X, strict=True)
    assert "norm: RMSNorm: RMSNorm has no kernel on the target chips" in str(error.value)
    planned(Net(), X, strict=True, disable_module=nn.RMSNorm)


def test_path_under_a_lifted_transform_is_the_one_the_user_sees():
    assert disabled(planned(Scanned(), X, disable_submodel="steps.dense")) == ["steps.dense"]

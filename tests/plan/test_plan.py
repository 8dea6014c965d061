"""The plan as a value: printable, comparable, made from shapes alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from linger_jax.plan import Plan
from tests.models import Mlp, ResidualCnn, Scanned, Unrolled, drawn, initialised, random_array
from tests.plan.planned import planned, summary

X = jax.ShapeDtypeStruct((2, 4), jnp.float32)
IMAGE = jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.float32)


def test_rows_of_a_residual_network_in_execution_order():
    assert summary(planned(ResidualCnn(blocks=1), IMAGE)) == [
        ("stem", "Conv", "quantized"),
        ("<root>", "relu", "passes"),
        ("<root>", "max_pool", "passes"),
        ("block_0.conv", "Conv", "quantized"),
        ("block_0.norm", "BatchNorm", "quantized"),
        ("block_0", "relu", "passes"),
        ("block_0._linger_qtensor_qadd_0", "add", "quantized"),
        ("_linger_avg_pool_0", "avg_pool", "quantized"),
        ("Dropout_0", "Dropout", "passes"),
        ("head", "Dense", "quantized"),
    ]


def test_text_is_the_coverage_table():
    lines = str(planned(Mlp(), X)).splitlines()
    assert lines[0].strip() == "linger_jax plan, platform venusA"
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert [row[:5] for row in cells] == [
        ["first", "Dense", "quantized", "8", ""],
        ["<root>", "relu", "passes", "8", ""],
        ["second", "Dense", "quantized", "8", ""],
    ]
    assert all(row[5].startswith("models.py:") for row in cells)


def test_text_shows_brackets_of_names_and_reasons_as_they_are():
    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.RMSNorm(name="[bold]norm")(nn.Dense(4)(x))

    assert "[bold]norm" in str(planned(Odd(), X))


def test_plans_of_equal_calls_are_equal_and_of_others_not():
    assert planned(Mlp(), X) == planned(Mlp(), X)
    assert planned(Mlp(), X) != planned(Mlp(hidden=8), X, disable_submodel="first")
    assert planned(Mlp(), X) != planned(Mlp(), X, config={"quant_info": {"weight_bits": 4}})
    assert planned(Mlp(), X) != "a plan"


def test_plan_of_shapes_is_the_plan_of_arrays():
    model = ResidualCnn()
    x = random_array(0, *IMAGE.shape)
    variables = drawn(model, x)
    qmodel = linger_jax.init(model)
    plan = qmodel.plan(variables, x, verdict=False)
    assert isinstance(plan, Plan)
    assert plan == planned(model, IMAGE)


def test_plan_does_not_depend_on_the_batch_size_or_the_training_flag():
    large = jax.ShapeDtypeStruct((64, *IMAGE.shape[1:]), jnp.float32)
    assert planned(ResidualCnn(), IMAGE) == planned(ResidualCnn(), large)
    train = planned(ResidualCnn(), IMAGE, train=True)
    assert train.quantizers == planned(ResidualCnn(), IMAGE).quantizers


def test_plan_is_the_same_with_wide_types_enabled():
    with jax.enable_x64(True):
        wide = planned(ResidualCnn(), IMAGE)
    assert wide == planned(ResidualCnn(), IMAGE)


@pytest.mark.model  # which are clamped
def test_plan_of_quantized_variables_leaves_their_state_aside():
    x = random_array(0, 2, 4)
    for method in ("MOM", "TQT"):
        qmodel = linger_jax.init(Mlp(), {"quant_info": {"qat_method": method}})
        variables = initialised(qmodel, x)
        assert qmodel.plan(variables, x) == qmodel.plan(drawn(Mlp(), x), x)


def test_modules_are_listed_once_in_order():
    assert planned(ResidualCnn(blocks=1), IMAGE).modules == (
        "stem",
        "block_0",
        "block_0.conv",
        "block_0.norm",
        "Dropout_0",
        "head",
    )


def test_layers_that_compute_in_half_precision_are_float_with_the_reason():
    class Half(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4, dtype=jnp.bfloat16, name="computes")(x)
            x = nn.Dense(4, param_dtype=jnp.bfloat16, dtype=jnp.float32, name="stores")(x.astype(jnp.float32))
            return nn.Dense(4, name="whole")(x)

    rows = {row.name: (row.status, row.reason) for row in planned(Half(), X).rows()}
    assert rows["computes"] == ("float", "computes in bfloat16: quantization is exact in float32 only")
    assert rows["stores"] == ("float", "params.bias is bfloat16: quantization is exact in float32 only")
    assert rows["whole"] == ("quantized", "")


def test_layer_without_a_rule_is_float_with_the_reason():
    row = planned(nn.Sequential([nn.Dense(4), nn.RMSNorm()]), X).float_rows[0]
    assert (row.name, row.op, row.reason) == ("layers_1", "RMSNorm", "RMSNorm has no kernel on the target chips")


def test_constrain_plan_has_layers_only_and_no_quantizers():
    model = ResidualCnn(blocks=1)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(IMAGE.shape)))
    plan = linger_jax.constrain(model).plan(variables, IMAGE)
    assert summary(plan) == [
        ("stem", "Conv", "constrained"),
        ("block_0.conv", "Conv", "constrained"),
        ("block_0.norm", "BatchNorm", "constrained"),
        ("Dropout_0", "Dropout", "passes"),
        ("head", "Dense", "constrained"),
    ]
    assert plan.quantizers == {}


class ControlFlow(nn.Module):
    loop: object

    @nn.compact
    def __call__(self, x):
        return self.loop(nn.Dense(4, name="entry")(x), nn.Dense(4, name="inner"))


def conditional(x, layer):
    layer(x)
    return nn.cond(jnp.sum(x) > 0, lambda module, x: module(x), lambda module, x: x, layer, x)


def looping(x, layer):
    layer(x)
    return nn.while_loop(lambda module, x: jnp.sum(x) > 0, lambda module, x: module(x), layer, x, carry_variables=())


@pytest.mark.parametrize(("loop", "primitive"), [(conditional, "cond"), (looping, "while")])
def test_layer_inside_opaque_control_flow_is_listed_as_float(loop, primitive):
    rows = [r for r in planned(ControlFlow(loop), X).rows() if r.name == "inner" and r.status == "float"]
    assert [(r.op, r.reason) for r in rows] == [("Dense", f"inside {primitive}: runs as float")]


def test_layer_mapped_over_parameters_is_listed_as_float():
    stacked = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})
    row = planned(nn.Sequential([nn.Dense(4), stacked(4)]), X).float_rows[0]
    assert row.reason == "inside vmap: one call stands for several layers"


def test_layer_mapped_over_its_input_is_quantized():
    mapped = nn.vmap(nn.Dense, variable_axes={"params": None}, split_rngs={"params": False})
    assert [r.status for r in planned(nn.Sequential([mapped(4)]), X).rows()] == ["quantized"]


def test_layer_under_a_gradient_inside_the_model_is_listed_as_float():
    class Slope(nn.Module):
        @nn.compact
        def __call__(self, x):
            _, pullback = nn.vjp(lambda module, x: module(x), nn.Dense(1, name="inner"), x)
            return pullback(jnp.ones((2, 1)))[1]

    row = planned(Slope(), X).rows()[0]
    assert (row.name, row.status) == ("inner", "float")
    assert row.reason.startswith("inside forward differentiation")


def test_scan_keeps_a_carry_that_keeps_its_bits_and_reports_one_that_does_not():
    assert [r for r in planned(Scanned(), X).rows() if r.op == "scan"] == []

    class Dropping(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4, name="entry")(x)
            return jax.lax.scan(lambda c, _: (jnp.tanh(c), c), x, None, length=2)

    (row,) = (r for r in planned(Dropping(), X).rows() if r.op == "scan")
    assert (row.status, row.reason) == (
        "float",
        "1 value(s) leave an iteration as float: no single scale describes them",
    )


def test_scan_has_the_quantizers_of_the_unrolled_model():
    scanned = planned(Scanned(length=2), X).quantizers
    unrolled = planned(Unrolled(length=2), X).quantizers
    assert {("steps", *path[1:]) for path in unrolled if path[0].startswith("step_")} == {
        path for path in scanned if path[0] == "steps"
    }


@pytest.mark.model  # Flax counts the cells of a window by running
def test_window_and_divisor_of_a_pool_are_what_the_integer_path_needs():
    class Pool(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (1, 1))(x)
            return nn.avg_pool(x, (3, 2), (2, 2), ((1, 1), (0, 0)), count_include_pad=False)

    (node,) = (n for n in planned(Pool(), IMAGE).graph.nodes if n.op == "avg_pool")
    window = node.pool.window
    assert (window.kernel, window.strides, window.padding) == ((3, 2), (2, 2), ((1, 1), (0, 0)))
    np.testing.assert_array_equal(node.pool.divisor[0, :, 0, 0], [4, 6, 6, 6])

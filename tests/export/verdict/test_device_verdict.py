"""What a plan says of the chip before a step is trained (docs/decisions.md D33)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linger_jax
from tests.models import Calls, Mlp, ResidualCnn, drawn, initialised, normal

IMAGE = jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32)
VECTOR = jax.ShapeDtypeStruct((1, 8), jnp.float32)


def planned(function, x, platform="arcs", **options):
    model = function if isinstance(function, nn.Module) else Calls(function)
    qmodel = linger_jax.init(model, {"platform": platform}, **options)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(x.shape, x.dtype)))
    return qmodel.plan(variables, x)


def column(plan):
    return {row.op: row.device for row in plan.rows()}


def test_a_layer_packs_runs_as_another_form_or_is_refused():
    def model(x):
        x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.tanh(x)
        return nn.glu(nn.Dense(8)(x.reshape(1, -1)))

    found = column(planned(model, IMAGE))
    assert (found["Conv"], found["relu"], found["max_pool"], found["Dense"]) == ("packs",) * 4
    assert found["tanh"].startswith("as tables for functions: +")
    assert found["glu"].startswith("refused: ")


def test_the_cost_of_another_form_is_that_of_its_nodes():
    """A padding of one side alone is a wider kernel: 4x4 for 3x3, and no Pad."""
    plan = planned(lambda x: nn.Conv(4, (3, 3), (2, 2))(x), IMAGE)
    (verdict,) = plan.device.rows
    assert (verdict.word, verdict.forms) == ("as", ("Pad in convolutions",))
    weights, products = 4 * 4 * (4 * 4 - 3 * 3), 4 * 4 * 4 * 4 * (4 * 4 - 3 * 3)
    assert (verdict.cost.nodes, verdict.cost.multiply_accumulates, verdict.cost.constants) == (-1, products, weights)
    assert str(verdict) == (
        f"as Pad in convolutions: -1 node, +{products:,} multiply-accumulates, +{weights} bytes of constants"
    )


def test_a_table_costs_its_nodes_its_index_and_its_bytes():
    plan = planned(lambda x: nn.tanh(nn.Dense(8)(x)), VECTOR)
    cost = plan.device.rows[1].cost
    # Reshape, QLinear of one input, Reshape and Gather for QTanh; a table of 256 bytes, the weight 1 and the bias 128.
    assert (cost.nodes, cost.multiply_accumulates, cost.constants) == (3, 8, 256 + 1 + 4)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (lambda x: nn.Dense(4)(x), VECTOR),
        (lambda x: nn.Conv(4, (3, 3))(x), IMAGE),
        (lambda x: nn.Conv(4, (3,))(x), jax.ShapeDtypeStruct((1, 8, 4), jnp.float32)),
        (lambda x: nn.ConvTranspose(4, (3, 3))(x), IMAGE),
        (lambda x: nn.max_pool(nn.BatchNorm(use_running_average=True)(x), (2, 2), (2, 2)), IMAGE),
        (lambda x: nn.BatchNorm(use_running_average=True)(x).mean((1, 2)), IMAGE),
        (lambda x: nn.RNN(nn.OptimizedLSTMCell(4))(x), jax.ShapeDtypeStruct((1, 6, 8), jnp.float32)),
    ],
)
def test_no_network_packs_for_mars(layer, x):
    plan = planned(layer, x, "mars")
    assert not plan.device.runs
    assert "the packer has no implementation of it for mars" in plan.rows()[-1].device


def test_a_chip_without_a_packer_has_no_verdict():
    plan = planned(Mlp(), VECTOR, "jupiter")
    assert set(column(plan).values()) == {"-"}
    assert "jupiter: not judged: the packer does not know this platform" in str(plan)
    assert not plan.device.runs


def test_what_runs_as_float_is_refused_and_the_rest_judged():
    def model(x):
        x = jnp.cumsum(nn.Dense(8, name="before")(x), -1)
        return nn.glu(nn.tanh(nn.Dense(8, name="behind")(x)))

    rows = {row.name: (row.op, row.device) for row in planned(model, VECTOR).rows()}
    assert rows["before"] == ("Dense", "packs")
    assert rows["behind"] == ("Dense", "packs")
    assert rows["<root>"] == ("cumsum", "refused: runs as float")
    assert rows["_linger_qtensor_qtanh_0"][1].startswith("as tables for functions")
    assert rows["_linger_glu_0"][1].startswith("refused: ")


def test_a_refused_last_step_is_told_once():
    plan = planned(lambda x: jnp.cumsum(nn.Dense(8)(x), -1), VECTOR)
    assert [row.device for row in plan.rows()] == ["packs", "refused: runs as float"]
    assert plan.device.elsewhere == ()


def test_what_was_disabled_is_refused_too():
    plan = planned(lambda x: nn.sigmoid(nn.Dense(8)(x)), VECTOR, disable_ops="sigmoid")
    dense, sigmoid = plan.rows()
    assert (dense.device, sigmoid.status) == ("packs", "disabled")
    assert sigmoid.device.startswith("refused: ")


def test_layers_inside_a_branch_are_refused():
    def model(x):
        layer = nn.Dense(8, name="inner")
        x = layer(x)
        return nn.cond(jnp.sum(x) > 0, lambda module, x: module(x), lambda module, x: x, layer, x)

    plan = planned(model, VECTOR)
    assert "refused: runs as float" in {row.device for row in plan.rows()}
    assert not plan.device.runs


def test_what_no_output_depends_on_is_no_part_of_the_file():
    class Sows(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("intermediates", "y", nn.Dense(4, name="watched")(x))
            return nn.Dense(4, name="used")(x)

    assert {row.name: row.device for row in planned(Sows(), VECTOR).rows()} == {"watched": "-", "used": "packs"}


def test_steps_without_a_row_are_told_below_the_table():
    plan = planned(lambda x: lax.pad(nn.Dense(8)(x), 0.0, ((0, 0, 0), (0, 0, 1))), VECTOR)
    assert not plan.device.runs
    assert "padding between elements" in " ".join(str(plan).split())


def test_a_call_that_trains_is_not_judged():
    x = np.zeros(IMAGE.shape, np.float32)
    qmodel = linger_jax.init(ResidualCnn(), {"platform": "arcs"})
    plan = qmodel.plan(drawn(ResidualCnn(), x), x, train=True, rngs={"dropout": jax.random.key(0)})
    assert set(column(plan).values()) == {"-"}
    assert "this call trains, and a file is an evaluation" in " ".join(str(plan).split())


def test_a_batch_is_judged_by_its_first_sample():
    model = ResidualCnn(blocks=1)
    large = jax.ShapeDtypeStruct((5, *IMAGE.shape[1:]), jnp.float32)
    one, many = planned(model, IMAGE), planned(model, large)
    assert one.device == many.device
    assert one.device.memory == many.device.memory


def test_a_model_that_does_not_run_on_one_sample_is_refused():
    plan = planned(lambda x: nn.Dense(4)(x.reshape(2, 4)), jax.ShapeDtypeStruct((2, 4), jnp.float32))
    assert not plan.device.runs
    assert "does not run on one sample" in " ".join(str(plan).split())


def test_plans_are_compared_without_their_verdict():
    x = np.zeros((1, 4), np.float32)
    qmodel = linger_jax.init(Mlp(), {"platform": "arcs"})
    variables = drawn(Mlp(), x)
    with_verdict, without = qmodel.plan(variables, x), qmodel.plan(variables, x, verdict=False)
    assert without.device is None
    assert "device" not in str(without)
    assert with_verdict == without


SUM = "_linger_qtensor_qadd_0"


def summed(x):
    """An addition on a finer grid than its operands' is what scales alone refuse."""
    return nn.Dense(4, name="first")(x) + nn.Dense(4, name="second")(x)


def test_arrays_and_shapes_have_one_verdict_and_scales_that_are_known_count():
    x, model = normal(1, 4), Calls(summed)
    qmodel = linger_jax.init(model, {"platform": "arcs"})
    floats = drawn(model, x)
    fresh = qmodel.plan(floats, x)
    assert fresh.device == planned(model, jax.ShapeDtypeStruct((1, 4), jnp.float32)).device
    assert "have seen no data" in fresh.device.remark
    variables = linger_jax.calibrate(qmodel, initialised(qmodel, x), [x], progress=False)
    assert qmodel.plan(variables, x).device.remark == ""
    variables["quant"][SUM]["output_quantizer"]["scale"] = jnp.float32(2.0**20)
    (first, second, total) = qmodel.plan(variables, x).device.rows
    assert (first.word, second.word) == ("packs", "packs")
    assert str(total).startswith("refused at these scales: scale_x ")


def test_nothing_is_judged_while_a_call_is_traced():
    qmodel = linger_jax.init(Mlp(), {"platform": "arcs"})
    x = np.zeros((1, 4), np.float32)
    variables = drawn(Mlp(), x)

    def traced(x):
        assert qmodel.plan(variables, x).device is None
        return x

    jax.eval_shape(traced, x)
    constrained = linger_jax.constrain(Mlp(), {"platform": "arcs"})
    assert constrained.plan(variables, x).device is None


def test_the_memory_of_each_row_and_of_the_file_stands_below_the_table():
    plan = planned(lambda x: nn.Dense(16, name="last")(nn.relu(nn.Dense(8, name="first")(x))), VECTOR)
    first, relu, last = plan.device.rows
    assert (first.weights, first.activations) == (8 * 8 + 4 * 8, 8)
    assert (relu.weights, relu.activations) == (0, 8)
    assert (last.weights, last.activations) == (8 * 16 + 4 * 16, 16)
    memory = plan.device.memory
    assert memory.weights == 64 + 32 + 128 + 64
    assert (memory.moved, memory.share_memory_limit, memory.psram_limit) == (0, 384 * 1024, 8 * 1024**2)
    assert "memory of arcs, bytes" in str(plan)


def test_a_model_too_large_for_the_chip_is_refused_before_it_is_trained():
    plan = planned(lambda x: nn.Dense(2_000_000)(x), VECTOR)
    assert column(plan) == {"Dense": "packs"}
    (whole,) = plan.device.elsewhere
    assert "of share memory" in whole.why
    assert not plan.device.runs


# --- strict="device" ---


def gated(x):
    """The executor of arcs has no gated linear unit of ours."""
    return nn.glu(nn.Dense(8)(x))


def test_strict_for_the_device_refuses_when_the_variables_are_made():
    x = np.zeros(VECTOR.shape, np.float32)
    qmodel = linger_jax.init(Calls(gated), {"platform": "arcs"}, strict="device")
    floats = drawn(Calls(gated), x)
    said = r"strict='device': arcs would refuse these; .*\n  _linger_glu_0: glu: "
    with pytest.raises(linger_jax.PlanError, match=said):
        qmodel.adopt(floats, x)
    with pytest.raises(linger_jax.PlanError, match=said):
        qmodel.init(jax.random.key(0), x)
    with pytest.raises(linger_jax.PlanError, match=said):
        qmodel.plan(floats, x)
    assert qmodel.plan(floats, x, verdict=False).rows()


def test_strict_for_the_device_takes_what_packs_and_refuses_float():
    x = np.zeros((1, 4), np.float32)
    qmodel = linger_jax.init(Mlp(), {"platform": "arcs"}, strict="device")
    assert "quant" in qmodel.adopt(drawn(Mlp(), x), x)
    floating = Calls(lambda x: jnp.cumsum(nn.Dense(4)(x), -1))
    with pytest.raises(linger_jax.PlanError, match="would run as float"):
        linger_jax.init(floating, {"platform": "arcs"}, strict="device").adopt(drawn(floating, x), x)
    with pytest.raises(linger_jax.LingerError, match="strict is 'chip'; allowed: False, True, 'device'"):
        linger_jax.init(Mlp(), strict="chip")


def test_what_scales_decide_is_no_error_since_training_moves_them():
    x = normal(1, 4)
    qmodel = linger_jax.init(Calls(summed), {"platform": "arcs"}, strict="device")
    variables = initialised(qmodel, x)
    variables["quant"][SUM]["output_quantizer"]["scale"] = jnp.float32(2.0**20)
    assert not qmodel.plan(variables, x).device.runs


@pytest.mark.parametrize("strict", [False, True])
def test_training_never_raises_for_the_chip(strict):
    x = normal(2, 8)
    qmodel = linger_jax.init(Calls(gated), {"platform": "arcs"}, strict=strict)
    variables = initialised(qmodel, x)
    assert not qmodel.plan(variables, x).device.runs
    _, updates = qmodel.apply(variables, x, mutable=["quant"])
    assert "quant" in updates

"""Plans of recurrent layers: names of the quantizers, the parameters they read, widths, and what stays float."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from linger_jax.plan import PlanError
from tests.plan.planned import planned, row_of, summary

X = jax.ShapeDtypeStruct((2, 5, 4), jnp.float32)


class Compact(nn.Module):
    """The cells belong to this module."""

    @nn.compact
    def __call__(self, x):
        x = nn.Bidirectional(nn.RNN(nn.LSTMCell(3)), nn.RNN(nn.LSTMCell(3)), name="both")(x)
        return nn.Dense(2, name="head")(x[:, -1])


def quantizers(plan, layer):
    return {path[-1].removesuffix("_quantizer"): q for path, q in plan.quantizers.items() if path[0] == layer}


def test_quantizers_of_an_lstm_in_two_directions():
    """docs/specification/recurrent.md section 1, below the path of the layer and not of its cells."""
    sides = ("", "_reverse")
    each = ("weightih", "weighthh", "biasih", "biashh", "hidden", "output")
    plan = planned(Compact(), X)
    found = quantizers(plan, "both")
    assert set(found) == {"input", "cell", *(name + side for name in each for side in sides)}
    assert summary(plan) == [("both", "Bidirectional", "quantized"), ("head", "Dense", "quantized")]


def test_matrix_reads_the_kernels_of_its_gates_in_the_order_of_torch():
    found = quantizers(planned(Compact(), X), "both")
    assert found["weighthh_reverse"].parameters == tuple(
        ("params", "LSTMCell_1", gate, "kernel") for gate in ("hi", "hf", "hg", "ho")
    )
    assert found["biasih"].parameters == ()
    assert (found["biasih"].active, found["biashh"].active, found["cell"].active) == (False, True, False)


def test_gru_has_a_hidden_bias_in_one_gate_alone():
    found = quantizers(planned(nn.Sequential([nn.RNN(nn.GRUCell(3))]), X), "layers_0")
    assert found["biashh"].parameters == (("params", "layers_0", "cell", "hn", "bias"),)
    assert len(found["biasih"].parameters) == 3
    assert "cell" not in found


def test_matrices_of_a_torch_cell_are_read_directly():
    found = quantizers(planned(nn.Sequential([nn.RNN(TorchGRUCell(3))]), X), "layers_0")
    assert found["weightih"].parameters == (("params", "layers_0", "cell", "weight_ih"),)


def test_quantized_input_is_taken_as_it_is():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.RNN(TorchLSTMCell(3), name="second")(nn.RNN(TorchGRUCell(3), name="first")(x))

    plan = planned(Two(), X)
    assert quantizers(plan, "first")["input"].active
    assert not quantizers(plan, "second")["input"].active


def test_part_sets_the_widths_of_one_layer():
    part = {"name": ["both"], "quant_info": {"weight_bits": 4, "input_bits": 12, "output_bits": 10}}
    plan = planned(Compact(), X, config={"part1": part})
    found = quantizers(plan, "both")
    widths = {name: found[name].spec.bits for name in ("input", "weightih", "weighthh_reverse", "hidden", "output")}
    assert widths == {"input": 12, "weightih": 4, "weighthh_reverse": 4, "hidden": 10, "output": 10}
    assert row_of(plan, "both").bits == 10
    assert quantizers(plan, "head")["weight"].spec.bits == 8


def test_part_may_name_a_cell():
    plan = planned(Compact(), X, config={"part1": {"name": ["LSTMCell_0"], "quant_info": {"weight_bits": 4}}})
    assert quantizers(plan, "both")["weightih"].spec.bits == 4


def test_shared_layer_is_visited_twice():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            rnn = nn.RNN(TorchGRUCell(4), name="rnn")
            return rnn(rnn(x))

    assert quantizers(planned(Twice(), X), "rnn")["weightih"].visits == 2


DISABLED = {
    "the layer's type": {"disable_module": nn.Bidirectional},
    "the RNN inside": {"disable_module": nn.RNN},
    "the cell": {"disable_module": nn.LSTMCell},
    "the layer's name": {"disable_submodel": "both"},
    "the name of a cell": {"disable_submodel": "LSTMCell_0"},
}


@pytest.mark.parametrize("options", DISABLED.values(), ids=DISABLED.keys())
def test_layer_is_disabled_by(options):
    plan = planned(Compact(), X, **options)
    assert row_of(plan, "both").status == "disabled"
    assert not quantizers(plan, "both")


def test_strict_refuses_a_cell_that_the_chips_do_not_have():
    with pytest.raises(PlanError, match="a recurrent layer over SimpleCell"):
        planned(nn.Sequential([nn.Dense(4), nn.RNN(nn.SimpleCell(3))]), X, strict=True)


def test_platform_without_kernels_leaves_the_layer_float_and_warns():
    """D8."""
    plan = planned(Compact(), X, config={"platform": "jupiter"})
    assert plan.warnings == ("both: jupiter has no sigmoid and tanh kernels; Bidirectional runs as float",)
    assert (row_of(plan, "both").status, row_of(plan, "head").status) == ("float", "quantized")
    assert not quantizers(plan, "both")


def test_vmapped_layer_is_float_with_the_reason():
    class Ensemble(nn.Module):
        @nn.compact
        def __call__(self, x):
            many = nn.vmap(nn.RNN, in_axes=None, variable_axes={"params": 0}, split_rngs={"params": True}, axis_size=2)
            return nn.Dense(2, name="head")(many(TorchGRUCell(3), name="many")(x))

    (row,) = [r for r in planned(Ensemble(), X).rows() if r.op == "RNN"]
    assert (row.status, row.reason) == ("float", "inside vmap: one call stands for several layers")

"""Checkpoints of linger that do not fit, of loops, fusions and blocks that PyTorch has no twin of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict

import linger_jax
from linger_jax import converters
from linger_jax.errors import ConversionError
from linger_jax.nn import SparifyFFN, TorchLSTMCell
from tests.converters.linger_states import Net, X, load, numbers, quantized, state_of
from tests.converters.twins import example
from tests.models import initialised, random_array


@pytest.fixture(autouse=True)
def _flax_divides_by_integers() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):  # in its average pooling
        yield


def error_of(state: Any, qmodel: linger_jax.QuantizedModel, **options: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        load(state, qmodel, **options)
    return str(caught.value)


# --- what does not fit ---


def test_missing_and_unexpected_entries_are_told_together() -> None:
    qmodel = quantized()
    state = state_of(qmodel)
    moved = state.pop("c1.input_quantizer.scale")
    state["c1.inner_quantizer.scale"] = moved
    del state["fc.bias"]
    text = error_of(state, qmodel)
    assert "quant.c1.input_quantizer.scale []" in text
    assert "c1.inner_quantizer.scale []" in text
    assert "params.fc.bias" in text
    variables, report = load(state, qmodel, strict=False)
    assert "quant.c1.input_quantizer.scale" in report.missing
    assert "c1.inner_quantizer.scale" in report.unexpected
    assert variables["quant"]["c1"]["input_quantizer"]["scale"] == 1


def test_a_checkpoint_of_the_other_method_says_so() -> None:
    text = error_of(state_of(quantized("TQT")), quantized("MOM"))
    assert "the checkpoint was trained with qat_method TQT, the configuration says MOM" in text


def test_a_layer_that_stays_float_says_why() -> None:
    state = state_of(quantized())
    qmodel = linger_jax.init(Net(), {"compat": "reference"}, disable_submodel="fc")
    assert re.search(r"fc runs as float and takes no quantizer state: disable_submodel 'fc'", error_of(state, qmodel))


class Leaky(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.leaky_relu(nn.Dense(3, name="fc")(x))


def test_a_function_that_is_float_in_linger_has_no_scales_there() -> None:
    x = random_array(0, 2, 4)
    linger = linger_jax.init(Leaky(), {"compat": "reference"})
    state = converters.to_torch(linger, initialised(linger, x), x)
    with pytest.raises(ConversionError, match=r"qtable_0\.output_quantizer\.scale \[\]: linger has no tables"):
        converters.load_linger_checkpoint(state, linger_jax.init(Leaky()), None, x)
    as_float = linger_jax.init(Leaky(), disable_ops="table")
    variables, _ = converters.load_linger_checkpoint(state, as_float, None, x)
    np.testing.assert_array_equal(variables["params"]["fc"]["kernel"], state["fc.weight"].T)


def test_damaged_values_and_shapes_are_refused() -> None:
    qmodel = quantized()
    state = state_of(qmodel)
    state["c1.output_quantizer.scale"] = torch.tensor(float("nan"))
    assert "c1.output_quantizer.scale has 1 of 1 values that are NaN" in error_of(state, qmodel)
    state["c1.output_quantizer.scale"] = torch.ones(3)
    assert "c1.output_quantizer.scale [3] does not fit" in error_of(state, qmodel)


def test_a_constrained_model_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"linger_jax\.init returns"):
        converters.load_linger_checkpoint({}, linger_jax.constrain(Net()), None, X)


def test_a_scanned_layer_takes_the_state_of_each_iteration() -> None:
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x: Any, _: Any) -> Any:
            return nn.Dense(4, name="fc")(x), None

    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            scan = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
            return scan(name="blocks")(x, None)[0]

    x = example(2, 4)
    qmodel = linger_jax.init(Stack(), {"compat": "reference"})
    fresh = initialised(qmodel, x)
    state: dict[str, Any] = {}
    for i in range(3):
        state[f"blocks.{i}.weight"] = numbers(16).reshape(4, 4) + i
        state[f"blocks.{i}.bias"] = numbers(4) + i
        for path, value in flatten_dict(fresh["quant"]["blocks"]["fc"]).items():
            slice_ = np.asarray(value)[i]
            state[f"blocks.{i}." + ".".join(path)] = np.full_like(slice_, 2**i)
    variables, report = converters.load_linger_checkpoint(state, qmodel, None, x)
    got = variables["quant"]["blocks"]["fc"]["output_quantizer"]["scale"]
    np.testing.assert_array_equal(got, [1, 2, 4])
    assert report.unexpected == ()


class Normalized(nn.Module):
    """Two convolutions with their normalizations."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for i in range(2):
            x = nn.relu(nn.BatchNorm(use_running_average=True, name=f"b{i}")(nn.Conv(4, (1, 1), name=f"c{i}")(x)))
        return nn.Dense(2, name="fc")(nn.max_pool(x, (6, 6))[:, 0, 0])


def test_a_fused_model_takes_a_checkpoint_from_before_the_fusion() -> None:
    shapes = jax.eval_shape(Normalized().init, jax.random.key(0), X)
    fused, _, _ = linger_jax.trace_layers(Normalized(), shapes, X)
    qmodel = linger_jax.init(fused, {"compat": "reference"})
    state: dict[str, Any] = {"fc.weight": numbers(8).reshape(2, 4), "fc.bias": numbers(2)}
    for i, inside in enumerate((3, 4)):
        state |= {f"c{i}.conv.weight": numbers(4 * inside).reshape(4, inside, 1, 1), f"c{i}.conv.bias": numbers(4)}
        state |= {f"c{i}.bn.{leaf}": numbers(4) + k for k, leaf in enumerate(("weight", "bias"))}
        state |= {f"c{i}.bn.running_mean": numbers(4) * 7, f"c{i}.bn.running_var": numbers(4) * 8}
    floats, _ = converters.from_torch(state, Normalized(), X)
    variables, _ = converters.load_linger_checkpoint(state, qmodel, None, X)
    for name in ("c0", "c1"):
        for leaf in ("kernel", "bias"):
            want = qmodel.adopt(floats, X)["params"][name][leaf]
            np.testing.assert_array_equal(variables["params"][name][leaf], want)
    assert "b0" not in variables["params"]
    # What linger saves has one convolution with a bias, and a parameter without meaning in the place of the other.
    written = converters.to_torch(qmodel, variables, X)
    assert written["b0._linger_ignore_parameter"].shape == (1,)
    assert {key for key in written if key.startswith("c0.") and "_quantizer" not in key} == {"c0.weight", "c0.bias"}
    again, _ = converters.load_linger_checkpoint(written, qmodel, None, X)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, variables))


class Residual(nn.Module):
    """Two additions behind a softmax, which may be a module to linger and is then not counted."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        y = nn.softmax(nn.Dense(4, name="a")(x))
        y = y + nn.Dense(4, name="b")(y)
        return y + nn.Dense(4, name="c")(y)


def residual_state(names: dict[str, str]) -> tuple[linger_jax.QuantizedModel, np.ndarray, dict[str, Any]]:
    x = example(2, 4)
    qmodel = linger_jax.init(Residual(), {"compat": "reference"})
    fresh = initialised(qmodel, x)
    state: dict[str, Any] = {}
    for name in "abc":
        state |= {f"{name}.weight": numbers(16).reshape(4, 4), f"{name}.bias": numbers(4)}
    for i, (path, value) in enumerate(flatten_dict(fresh["quant"]).items()):
        state[".".join((names.get(path[0], path[0]), *path[1:]))] = np.full_like(np.asarray(value), 2 ** (i % 11))
    return qmodel, x, state


def test_numbers_behind_a_function_that_is_a_module_are_not_taken_literally() -> None:
    names = {
        "_linger_qtensor_qsoftmax_0": "soft",
        "_linger_qtensor_qadd_1": "_linger_qtensor_qadd_0",
        "_linger_qtensor_qadd_2": "_linger_qtensor_qadd_1",
    }
    qmodel, x, state = residual_state(names)
    variables, report = converters.load_linger_checkpoint(state, qmodel, None, x)
    for ours, theirs in names.items():
        got = variables["quant"][ours]["output_quantizer"]["scale"]
        assert got == state[f"{theirs}.output_quantizer.scale"]
    written = converters.to_torch(qmodel, variables, x, mapping=report)
    assert written.keys() == state.keys()


def test_operators_of_owners_that_the_model_lacks_are_ambiguous() -> None:
    names = {
        "_linger_qtensor_qadd_1": "one._linger_qtensor_qadd_0",
        "_linger_qtensor_qadd_2": "two._linger_qtensor_qadd_0",
    }
    qmodel, x, state = residual_state(names)
    with pytest.raises(ConversionError, match="ambiguous") as caught:
        converters.load_linger_checkpoint(state, qmodel, None, x)
    assert "one._linger_qtensor_qadd_0" in str(caught.value)
    mapping = {theirs: ours for ours, theirs in names.items()}
    variables, _ = converters.load_linger_checkpoint(state, qmodel, None, x, mapping=mapping)
    got = variables["quant"]["_linger_qtensor_qadd_2"]["output_quantizer"]["scale"]
    assert got == state["two._linger_qtensor_qadd_0.output_quantizer.scale"]


class Unusual(nn.Module):
    """The layers whose float checkpoints linger itself cannot load strictly."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.RNN(TorchLSTMCell(4), name="rnn")(x)
        x = nn.glu(nn.Dense(16, name="fc")(x))
        return SparifyFFN(8, 16, name="ffn")(x)


def test_blocks_without_a_twin_in_pytorch_come_and_go_with_all_their_state() -> None:
    x = example(2, 3, 4)
    qmodel = linger_jax.init(Unusual(), {"compat": "reference"})
    variables = initialised(qmodel, x)
    state = converters.to_torch(qmodel, variables, x, mapping={"g": "_linger_glu_0"})
    assert state["ffn.weight_fc1"].shape == (16, 8)
    assert {"rnn.cell_quantizer.scale", "ffn.outmask_quantizer.scale"} <= state.keys()
    again, report = converters.load_linger_checkpoint(state, qmodel, None, x)
    assert report.missing == ()
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, variables))
    floats = {key: value for key, value in state.items() if "_quantizer" not in key}
    loaded, _ = converters.load_linger_checkpoint(floats, qmodel, variables, x)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), loaded, variables))


def test_a_dry_run_reports_the_same_and_reads_no_value() -> None:
    qmodel = quantized()
    state = state_of(qmodel)
    _, report = load(state, qmodel)
    state["c1.output_quantizer.scale"] = torch.tensor(float("nan"))
    nothing, foreseen = load(state, qmodel, dry_run=True)
    assert nothing == {}
    assert foreseen.rows == report.rows
    assert foreseen.dropped == report.dropped
    assert foreseen.missing == report.missing
    assert "dry run" in foreseen.summary
    del state["c1.input_quantizer.scale"]
    assert "quant.c1.input_quantizer.scale []" in error_of(state, qmodel, dry_run=True)

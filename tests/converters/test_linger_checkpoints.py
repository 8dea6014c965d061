"""Checkpoints of quantization-aware training: every tensor finds its place, or the error says which does not."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict

import linger_jax
from linger_jax import converters
from linger_jax.errors import ConversionError
from linger_jax.nn import SparifyFFN, TorchLSTMCell
from tests.converters.twins import example
from tests.models import initialised

X = example(2, 6, 6, 3)
State = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _flax_divides_by_integers() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):  # in its average pooling
        yield


class Gate(nn.Module):
    """Two operators of one owner, in a module of their own."""

    @nn.compact
    def __call__(self, x: Any, y: Any) -> Any:
        return (x + y) * x


class Net(nn.Module):
    """Layers under PyTorch's names, operators, a pool and a BatchNorm."""

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        x = nn.relu(nn.Conv(4, (3, 3), padding=1, name="c1")(x))
        y = nn.BatchNorm(use_running_average=not train, name="b1")(nn.Conv(4, (1, 1), name="c2")(x))
        x = Gate(name="gate")(x, y)
        x = nn.avg_pool(x, (2, 2), (2, 2))
        return nn.Dense(3, name="fc")(x.reshape(len(x), -1)) + 1.0


POOL, LAST = "_linger_avg_pool_0", "_linger_qtensor_qadd_0"
# The names of a PyTorch module that does the same.
NAMES = {POOL: "pool"}


def quantized(method: str = "MOM", **config: Any) -> linger_jax.QuantizedModel:
    return linger_jax.init(Net(), {"compat": "reference", "quant_info": {"qat_method": method, **config}})


def numbers(count: int) -> np.ndarray:
    return np.random.default_rng(count).uniform(0.1, 2.0, count).astype(np.float32)


@functools.cache
def fresh_variables(method: str) -> Any:
    return quantized(method).init(jax.random.key(0), X)


def state_of(qmodel: linger_jax.QuantizedModel) -> State:
    """What linger would save of such a model: weights in PyTorch's layout, quantizers in the order of execution."""
    variables = fresh_variables(qmodel.settings.config.quant_info.qat_method.name)
    state: dict[str, Any] = {
        "c1.weight": numbers(108).reshape(4, 3, 3, 3),
        "c1.bias": numbers(4),
        "c2.weight": numbers(16).reshape(4, 4, 1, 1),
        "c2.bias": numbers(4) * 2,
        "b1.weight": numbers(4) * 3,
        "b1.bias": numbers(4) * 4,
        "b1.running_mean": numbers(4) * 5,
        "b1.running_var": numbers(4) * 6,
        "b1.num_batches_tracked": np.int64(7),
        "b1._export_weight": np.zeros(0, np.float32),
        "b1._export_bias": np.zeros(0, np.float32),
        "fc.weight": numbers(108).reshape(3, 36),
        "fc.bias": numbers(3),
    }
    flat = {**flatten_dict(variables["params"]), **flatten_dict(variables["quant"])}
    for i, (path, value) in enumerate(flat.items()):
        if not any(part.endswith("_quantizer") for part in path):
            continue
        head, *rest = path
        array = np.asarray(value)
        filled = np.full(array.shape, i % 2 == 0) if array.dtype == bool else np.full(array.shape, 2.0 ** (i % 9))
        state[".".join((NAMES.get(head, head), *rest))] = filled.astype(array.dtype)
    return {key: torch.from_numpy(np.array(value)) for key, value in state.items()}


def load(state: Any, qmodel: linger_jax.QuantizedModel, **options: Any) -> tuple[Any, converters.ImportReport]:
    return converters.load_linger_checkpoint(state, qmodel, None, X, **options)


def error_of(state: Any, qmodel: linger_jax.QuantizedModel, **options: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        load(state, qmodel, **options)
    return str(caught.value)


def place_of(report: converters.ImportReport, variables: Any, key: str) -> np.ndarray:
    path = next(row.path for row in report.rows if row.key == key)
    value = variables
    for part in path.split("."):
        value = value[part]
    return np.asarray(value)


@pytest.mark.parametrize("method", ["MOM", "TQT"])
def test_every_entry_lands_with_its_bits_and_the_model_runs(method: str) -> None:
    qmodel = quantized(method)
    state = state_of(qmodel)
    variables, report = load(state, qmodel)
    for key, tensor in state.items():
        if "_quantizer" in key:
            got = place_of(report, variables, key)
            assert got.dtype == tensor.numpy().dtype
            np.testing.assert_array_equal(got, tensor.numpy(), err_msg=key)
    accounted = {row.key for row in report.rows} | {key for key, _ in report.dropped}
    assert accounted == set(state)
    assert report.missing == ()
    assert qmodel.apply(variables, X).shape == (2, 3)
    assert jax.tree.structure(variables["quant"]["fc"]) == jax.tree.structure(fresh_variables(method)["quant"]["fc"])


def test_a_pool_that_is_a_module_to_linger_is_found_by_order() -> None:
    qmodel = quantized()
    state = state_of(qmodel)
    variables, report = load(state, qmodel)
    assert variables["quant"][POOL]["output_quantizer"]["scale"] == float(state["pool.output_quantizer.scale"])
    assert {row.how for row in report.rows if row.key.startswith("pool.")} == {"order"}


def test_operators_of_an_owner_follow_their_numbers_and_products_have_one_name() -> None:
    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            q, k = nn.Dense(4, name="q")(x), nn.Dense(4, name="k")(x)
            return jnp.matmul(q, jnp.swapaxes(k, 1, 2)) + 1.0

    x = example(2, 5, 4)
    qmodel = linger_jax.init(Attention(), {"compat": "reference"})
    fresh = initialised(qmodel, x)
    state: dict[str, Any] = {"q.weight": numbers(16).reshape(4, 4), "q.bias": numbers(4)}
    state |= {"k.weight": numbers(16).reshape(4, 4), "k.bias": numbers(4)}
    # In this file the owner's operators stand last first, and linger wrote torch.bmm.
    flat = sorted(
        flatten_dict(fresh["quant"]).items(), key=lambda item: not item[0][0].startswith("_linger_qtensor_qa")
    )
    for i, (path, value) in enumerate(flat):
        state[".".join(path).replace("qmatmul", "qbmm")] = np.full_like(np.asarray(value), i % 7 + 1)
    variables, report = converters.load_linger_checkpoint(state, qmodel, None, x)
    for key in state:
        if "_linger" in key:
            np.testing.assert_array_equal(place_of(report, variables, key), state[key], err_msg=key)
            assert key.replace("qbmm", "qmatmul") in next(row.path for row in report.rows if row.key == key)


def test_the_mapping_of_a_report_gives_the_same_import() -> None:
    qmodel = quantized()
    state = state_of(qmodel)
    variables, report = load(state, qmodel)
    again, second = load(state, qmodel, mapping=report.mapping)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), variables, again))
    assert {row.how for row in second.rows if "_quantizer" in row.key and row.key.startswith("pool")} == {"mapping"}


class Pools(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(4, (1, 1), name="c")(x)
        return nn.avg_pool(nn.avg_pool(x, (2, 2), (2, 2)), (3, 3), (1, 1))


FIRST, SECOND = "_linger_avg_pool_0", "_linger_avg_pool_1"


def two_pools(names: dict[str, str], scales: dict[str, tuple[float, float]], **options: Any) -> tuple[Any, Any]:
    """Imports a checkpoint of two pools, in the order of ``names``; scales of what enters and what leaves each module.

    Returns:
      Scales that came out at the first pool and at the second.
    """
    qmodel = linger_jax.init(Pools(), {"compat": "reference"})
    flat = flatten_dict(jax.eval_shape(lambda: qmodel.init(jax.random.key(0), X))["quant"])
    state: dict[str, Any] = {"c.weight": numbers(12).reshape(4, 3, 1, 1), "c.bias": numbers(4)}
    for place in ("c", *names):
        for path, value in flat.items():
            if path[0] == place:
                module = names.get(place, place)
                scale = {"input_quantizer": scales[module][0], "output_quantizer": scales[module][1]}.get(path[1], 1.0)
                filled = np.full(value.shape, scale if path[-1] == "scale" else 1, value.dtype)
                state[".".join((module, *path[1:]))] = filled
    variables, _ = converters.load_linger_checkpoint(state, qmodel, None, X, **options)
    return tuple(float(variables["quant"][place]["output_quantizer"]["scale"]) for place in (FIRST, SECOND))


def test_two_pools_are_told_apart_by_the_mapping() -> None:
    names = {FIRST: "late", SECOND: "early"}
    scales = {"c": (4.0, 8.0), "late": (8.0, 8.0), "early": (8.0, 16.0)}
    assert two_pools(names, scales) == (8.0, 16.0)
    assert two_pools(names, scales, mapping={"early": FIRST, "late": SECOND}) == (16.0, 8.0)


@pytest.mark.parametrize("names", [{FIRST: "early", SECOND: "late"}, {SECOND: "late", FIRST: "early"}])
def test_pools_registered_in_another_order_are_told_apart_by_their_scales(names: dict[str, str]) -> None:
    assert two_pools(names, {"c": (4.0, 8.0), "early": (8.0, 16.0), "late": (16.0, 32.0)}) == (16.0, 32.0)


def test_pools_whose_scales_follow_no_order_are_taken_in_that_of_the_file() -> None:
    names = {SECOND: "late", FIRST: "early"}
    assert two_pools(names, {"c": (4.0, 8.0), "early": (2.0, 16.0), "late": (2.0, 32.0)}) == (32.0, 16.0)


def test_a_float_checkpoint_loads_strictly_and_keeps_the_quantizers() -> None:
    qmodel = quantized()
    state = {key: value for key, value in state_of(qmodel).items() if "_quantizer" not in key}
    given = jax.tree.map(lambda value: value, fresh_variables("MOM"))
    given["quant"]["c1"]["output_quantizer"]["scale"] = jnp.float32(64)
    variables, report = converters.load_linger_checkpoint(state, qmodel, given, X)
    assert variables["quant"]["c1"]["output_quantizer"]["scale"] == 64
    np.testing.assert_array_equal(variables["params"]["fc"]["bias"], state["fc.bias"].numpy())
    assert "quant.c1.output_quantizer.scale" in report.missing


def test_the_counter_of_a_batch_norm_is_kept() -> None:
    qmodel = quantized()
    variables, _ = load(state_of(qmodel), qmodel)
    assert variables["quant"]["b1"]["num_batches_tracked"] == 7


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
            state[f"blocks.{i}." + ".".join(path)] = np.full_like(slice_, i + 1)
    variables, report = converters.load_linger_checkpoint(state, qmodel, None, x)
    got = variables["quant"]["blocks"]["fc"]["output_quantizer"]["scale"]
    np.testing.assert_array_equal(got, [1, 2, 3])
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
        state[".".join((names.get(path[0], path[0]), *path[1:]))] = np.full_like(np.asarray(value), i % 11 + 1)
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

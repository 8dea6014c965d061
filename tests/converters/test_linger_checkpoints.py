"""Checkpoints of quantization-aware training: every tensor finds its place, or the error says which does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import linger_jax
from linger_jax import converters
from linger_jax.errors import ConversionError
from tests.converters.linger_states import POOL, X, fresh_variables, load, numbers, quantized, state_of
from tests.converters.twins import example
from tests.models import initialised


@pytest.fixture(autouse=True)
def _flax_divides_by_integers() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):  # in its average pooling
        yield


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
        state[".".join(path).replace("qmatmul", "qbmm")] = np.full_like(np.asarray(value), 2 ** (i % 7))
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


@pytest.mark.parametrize("method", ["MOM", "TQT"])
@pytest.mark.parametrize("scale", [0.0, -8.0, 3.0, 0.5, 2.0**24])
def test_a_scale_that_no_quantizer_has_is_refused_with_its_key(method: str, scale: float) -> None:
    qmodel = quantized(method)
    state = state_of(qmodel)
    state["fc.output_quantizer.scale"] = np.float32(scale)
    with pytest.raises(ConversionError) as caught:
        load(state, qmodel)
    assert f"fc.output_quantizer.scale is {scale:g}; a scale is a power of two, 1 to 8388608" in str(caught.value)


def test_a_flag_that_is_no_flag_is_refused_with_its_key() -> None:
    state = state_of(quantized())
    state["fc.output_quantizer.is_init"] = np.float32(7)
    with pytest.raises(ConversionError, match=r"fc\.output_quantizer\.is_init is 7; a flag is 0 or 1"):
        load(state, quantized())

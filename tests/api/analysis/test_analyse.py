"""``linger_jax.analyse``: planted faults are named first, the numbers are those of ``apply``, bad input is refused."""

import json
import math

import flax.linen as nn
import jax
import numpy as np
import pytest

import linger_jax
from linger_jax.errors import LingerError, StateError
from tests.models import Mlp, ResidualCnn, Scanned, Shared, drawn, prepared

IMAGES = [np.random.default_rng(i).standard_normal((4, 8, 8, 3), np.float32) for i in range(2)]
ROWS = [np.random.default_rng(i).standard_normal((32, 4), np.float32) for i in range(3)]


def calibrated(model, batches, change=lambda floats: None, **config):
    qmodel, _ = prepared(model, batches[0], config=config)
    floats = drawn(model, batches[0])
    change(floats["params"])
    return qmodel, linger_jax.calibrate(qmodel, qmodel.adopt(floats, batches[0]), batches, progress=False)


def edited(tree, path, change):
    """A nested dict with one leaf changed."""
    key, *rest = path
    return {**tree, key: edited(tree[key], rest, change) if rest else change(tree[key])}


def rescaled(variables, layer, quantizer, factor):
    return edited(variables, ("quant", *layer, quantizer, "scale"), lambda scale: scale * np.float32(factor))


class Deep(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i in range(3):
            x = nn.relu(nn.Dense(8, name=f"dense_{i}")(x))
        return nn.Dense(3, name="head")(x)


MODELS = [(Deep(), ROWS, ("dense_1",)), (ResidualCnn(), IMAGES, ("stem",))]


@pytest.fixture(scope="module", params=MODELS, ids=["dense", "cnn"])
def planted(request):
    model, batches, layer = request.param
    return *calibrated(model, batches), batches, layer


def first_row(qmodel, variables, batches, layer):
    row = linger_jax.analyse(qmodel, variables, batches).rows[0]
    assert row.name == ".".join(layer)
    return row


def test_a_healthy_model_has_no_findings(planted):
    qmodel, variables, batches, _ = planted
    analysis = linger_jax.analyse(qmodel, variables, batches)
    assert analysis.worst == ()
    assert analysis.output.sqnr_db > 20


def test_a_clipped_activation_is_named_first(planted):
    qmodel, variables, batches, layer = planted
    row = first_row(qmodel, rescaled(variables, layer, "output_quantizer", 16), batches, layer)
    assert row.clipped > 0.2
    assert "clipped" in row.finding
    assert row.exponents[0] - row.exponents[1] in (3, 4)


@pytest.mark.parametrize("factor", [4, 1 / 8])
def test_a_wrong_weight_exponent_is_named_first(planted, factor):
    qmodel, variables, batches, layer = planted
    row = first_row(qmodel, rescaled(variables, layer, "weight_quantizer", factor), batches, layer)
    assert row.finding.startswith("weight exponent") or "of weight are clipped" in row.finding
    assert "recalibrate" in row.remedy


def test_a_dead_channel_is_named_first(planted):
    qmodel, variables, batches, layer = planted
    dead = edited(variables, ("params", *layer, "kernel"), lambda kernel: kernel.at[..., 3].set(0))
    row = first_row(qmodel, dead, batches, layer)
    assert row.channels.constant == (3,)
    assert "channel 3 is dead" in row.finding


def test_a_channel_that_the_common_scale_loses_is_named_first(planted):
    _, _, batches, layer = planted
    model = next(m for m, _, at in MODELS if at == layer)
    qmodel, variables = calibrated(
        model, batches, lambda params: params[layer[0]].update(_small_channel(params[layer[0]]))
    )
    row = first_row(qmodel, variables, batches, layer)
    assert row.channels.lost == (3,)


def _small_channel(layer):
    return {"kernel": layer["kernel"].at[..., 3].multiply(1e-3)}


def test_a_bias_that_overflows_is_named_first(planted):
    qmodel, variables, batches, layer = planted
    large = edited(variables, ("params", *layer, "bias"), lambda bias: bias.at[0].set(1e8))
    row = first_row(qmodel, large, batches, layer)
    assert row.bias_headroom < 1
    assert "bias" in row.finding


def test_the_quantized_run_is_that_of_apply_and_the_float_run_that_of_the_model(planted):
    qmodel, variables, batches, _ = planted
    outputs = []
    linger_jax.analyse(qmodel, variables, batches, metric=lambda output, _: outputs.append(np.asarray(output)) or 0.0)
    floats = {name: entries for name, entries in variables.items() if name != "quant"}
    for real, quantized, batch in zip(outputs[::2], outputs[1::2], batches, strict=True):
        np.testing.assert_array_equal(quantized, qmodel.apply(variables, batch))
        np.testing.assert_allclose(real, qmodel.model.apply(floats, batch), rtol=1e-4, atol=1e-5)


def test_sums_over_batches_are_those_of_one_large_batch():
    qmodel, variables = calibrated(Mlp(), ROWS)
    parts = linger_jax.analyse(qmodel, variables, ROWS)
    whole = linger_jax.analyse(qmodel, variables, [np.concatenate(ROWS)])
    for part, one in zip(parts.rows, whole.rows, strict=True):
        assert part.accumulated.sqnr_db == pytest.approx(one.accumulated.sqnr_db, abs=1e-3)
        assert part.alone.largest == pytest.approx(one.alone.largest, abs=1e-6)
        assert [q.clipped for q in part.quantizers] == [q.clipped for q in one.quantizers]


def test_a_batch_of_a_known_shape_compiles_nothing_and_one_of_another_shape_once():
    qmodel, variables = calibrated(Mlp(), ROWS)
    linger_jax.analyse(qmodel, variables, ROWS)
    with jax.log_compiles(False), _counted_programs() as programs:
        linger_jax.analyse(qmodel, variables, ROWS * 3)
    assert programs == []
    with _counted_programs() as programs:
        linger_jax.analyse(qmodel, variables, [*ROWS, ROWS[0][:7]])
    assert len(programs) == 1


class _counted_programs:
    """The names of functions that are traced to be compiled."""

    def __enter__(self):
        self._counted = []
        self._listener = lambda event, duration, **_: (
            self._counted.append(event) if event == "/jax/core/compile/backend_compile_duration" else None
        )
        jax.monitoring.register_event_duration_secs_listener(self._listener)
        return self._counted

    def __exit__(self, *_):
        jax.monitoring.unregister_event_duration_listener(self._listener)


def test_layers_of_a_loop_have_a_row_each_and_shared_ones_a_row_for_each_call():
    qmodel, variables = calibrated(Scanned(remat=True), ROWS)
    rows = linger_jax.analyse(qmodel, variables, ROWS).rows
    assert {r.label for r in rows if r.name == "steps.dense"} == {f"steps.dense[{i}]" for i in range(3)}
    wrong = edited(
        variables, ("quant", "steps", "dense", "weight_quantizer", "scale"), lambda s: s * np.float32([1, 1 / 8, 1])
    )
    assert linger_jax.analyse(qmodel, wrong, ROWS).rows[0].label == "steps.dense[1]"
    qmodel, variables = calibrated(Scanned(stacked=False), ROWS)
    assert [r.label for r in linger_jax.analyse(qmodel, variables, ROWS).rows].count("steps.dense") == 1
    qmodel, variables = calibrated(Shared(), ROWS)
    assert [r.label for r in linger_jax.analyse(qmodel, variables, ROWS).rows] == ["dense", "dense"]


def test_an_analysis_reads_as_text_json_html_and_numbers():
    qmodel, variables = calibrated(Mlp(), ROWS)
    wrong = rescaled(variables, ("first",), "output_quantizer", 16)
    analysis = linger_jax.analyse(qmodel, wrong, ROWS, metric=lambda output, batch: abs(output).mean())
    assert analysis.worst[0].finding.split(":")[0] in str(analysis).replace("\n", " ")
    read = json.loads(analysis.to_json())
    assert [row["name"] for row in read["rows"]] == [row.name for row in analysis.rows]
    page = analysis._repr_html_()
    assert page.count("<tr>") == len(analysis.rows) + 1
    assert not {"<script", "<style", "http"} & {word for word in ("<script", "<style", "http") if word in page}
    numbers = analysis.scalars()
    assert numbers["layer/first/sqnr_db"] == analysis.rows[0].accumulated.sqnr_db
    assert numbers["metric/quantized"] == analysis.metric.of_quantized
    assert all(type(value) is float and math.isfinite(value) for value in numbers.values())


def test_html_of_an_analysis_is_escaped():
    qmodel, variables = calibrated(Mlp(), ROWS)
    analysis = linger_jax.analyse(qmodel, variables, ROWS[:1])
    hostile = type(analysis)(analysis.rows, analysis.output, 1, None, ("<b>x</b>",))
    assert "<b>" not in hostile._repr_html_()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "there was no batch"),
        (ROWS[0], r"iterable of batches, for one batch \[batch\]"),
        ({"x": ROWS[0]}, "iterable of batches"),
        ([ROWS[0][:0]], "empty batch"),
        ([ROWS[0], np.full_like(ROWS[0], np.nan)], "in batch 2 the float run gives NaN at first"),
    ],
)
def test_bad_batches_are_refused(batches, message):
    qmodel, variables = calibrated(Mlp(), ROWS)
    with pytest.raises(LingerError, match=message):
        linger_jax.analyse(qmodel, variables, batches)


@pytest.mark.parametrize(
    ("value", "message"),
    [("good", "str 'good'"), (None, "NoneType"), (np.zeros(3), r"shape \(3,\)"), (math.nan, "finite"), (1j, "complex")],
)
def test_a_metric_that_returns_no_number_is_refused(value, message):
    qmodel, variables = calibrated(Mlp(), ROWS)
    with pytest.raises(LingerError, match=message):
        linger_jax.analyse(qmodel, variables, ROWS, metric=lambda output, batch: value)


def test_a_model_that_never_saw_data_or_has_no_quantizers_is_refused():
    qmodel, fresh = prepared(Mlp(), ROWS[0], config={})
    with pytest.raises(StateError, match=r"never saw data: first\.input_quantizer"):
        linger_jax.analyse(qmodel, fresh, ROWS)
    qmodel, variables = prepared(Mlp(), ROWS[0], config={"open_quant": False})
    with pytest.raises(LingerError, match="no quantizers"):
        linger_jax.analyse(qmodel, variables, ROWS)


def test_a_metric_is_weighted_by_the_lengths_of_the_batches():
    qmodel, variables = calibrated(Mlp(), ROWS)
    batches = [ROWS[0], ROWS[1][:8]]
    found = linger_jax.analyse(qmodel, variables, batches, metric=lambda output, batch: len(batch))
    assert found.metric.of_float == pytest.approx((32 * 32 + 8 * 8) / 40)

"""Calibration over several batches: one compiled program, joined statistics, no second calibration."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import linger_jax
from tests.models import drawn

BATCHES = [jnp.full((2, 3), 1.0), jnp.full((2, 3), 4.0), jnp.full((2, 3), 2.0)]
ABS_MAX = {"a_calibrate_name": "abs_max", "calibrate_exponent": "nearest"}
traces = []


class Counted(nn.Module):
    @nn.compact
    def __call__(self, x):
        traces.append(x)
        return nn.Dense(2)(x)


@pytest.fixture(params=["MOM", "TQT"])
def calibrated(request):
    model = linger_jax.init(Counted(), {"quant_info": {"qat_method": request.param, **ABS_MAX}})
    return model, drawn(model, BATCHES[0])


def test_the_statistic_is_the_largest_of_all_batches(calibrated):
    model, fresh = calibrated
    together = linger_jax.calibrate(model, fresh, BATCHES, progress=False)
    largest = linger_jax.calibrate(model, fresh, [BATCHES[1]], progress=False)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, together, largest))
    first = linger_jax.calibrate(model, fresh, BATCHES[:1], progress=False)
    assert (
        first["quant"]["Dense_0"]["input_quantizer"]["scale"]
        == 4 * together["quant"]["Dense_0"]["input_quantizer"]["scale"]
    )


def test_more_batches_are_not_traced_again(calibrated):
    model, fresh = calibrated
    linger_jax.calibrate(model, fresh, BATCHES[:1], progress=False)
    before = len(traces)
    linger_jax.calibrate(model, fresh, BATCHES, progress=False)
    assert len(traces) == before


def test_calibrating_again_is_refused_and_names_the_quantizers(calibrated):
    model, fresh = calibrated
    once = linger_jax.calibrate(model, fresh, BATCHES, progress=False)
    with pytest.raises(linger_jax.LingerError, match=r"calibrated already.*Dense_0\.weight_quantizer"):
        linger_jax.calibrate(model, once, BATCHES, progress=False)
    with linger_jax.calibration(), pytest.raises(linger_jax.LingerError, match="calibrated already"):
        model.apply(once, BATCHES[0])

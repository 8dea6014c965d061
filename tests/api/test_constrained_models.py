"""Models that are constrained, or whose values pass the quantizers as they are.

Source: docs/specification/config.md section 5.
"""

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linger_jax
from tests.interpret.steps import same_bits, trained
from tests.models import ResidualCnn, drawn, initialised, normal, prepared, random_array

IMAGE = random_array(0, 2, 6, 6, 3)
X = random_array(1, 4, 5)

# --- a name that stands for NATIVE --------------------------------------------------------------------------------


class Everything(nn.Module):
    """Layers and functions with an integer form of their own."""

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm(epsilon=1e-5)(nn.Conv(8, (3, 3), name="conv")(x))
        x = nn.avg_pool(x, (2, 2), (2, 2)) + nn.gelu(nn.max_pool(x, (2, 2), (2, 2)), approximate=False)
        x = nn.glu(x).mean((1, 2))
        return nn.softmax(nn.sigmoid(x) + nn.tanh(nn.Dense(4)(x)) * nn.silu(x))


def test_onnx_computes_the_integers_of_native_in_training_and_evaluation():
    """docs/decisions.md D12."""
    model, results = Everything(), []
    with jax.numpy_dtype_promotion("standard"):  # nn.avg_pool divides a float by an integer
        for method in ("NATIVE", "ONNX"):
            qmodel, variables = prepared(model, IMAGE, config={"quant_method": method})
            y, variables = trained(qmodel, variables, IMAGE)
            results.append((y, variables, qmodel.apply(variables, IMAGE)))
    same_bits(*results)


# --- constrain mode ---


def test_constrained_model_has_the_float_model_s_variables_and_clips():
    model = ResidualCnn(blocks=1)
    x = 100 * random_array(3, 2, 8, 8, 4)
    qmodel = linger_jax.constrain(model, {"clamp_info": {"clamp_activation_value": 2}})
    variables = qmodel.init(jax.random.key(0), x)
    same_bits(variables, model.init(jax.random.key(0), x))
    assert np.abs(qmodel.apply(variables, x)).max() == 2.0
    assert np.abs(model.apply(variables, x)).max() > 2.0
    with pytest.raises(linger_jax.LingerError, match="no quantizers to calibrate"), linger_jax.calibration():
        qmodel.apply(variables, x)


def test_constrained_batch_norm_moves_its_statistics():
    model = nn.BatchNorm(use_running_average=False, momentum=0.9)
    qmodel = linger_jax.constrain(model)
    variables = initialised(qmodel, X)
    _, updates = qmodel.apply(variables, X, mutable=["batch_stats"])
    np.testing.assert_allclose(updates["batch_stats"]["mean"], 0.1 * np.mean(X, 0), rtol=1e-5, atol=1e-7)


def test_no_warning_escapes_a_whole_cycle():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ResidualCnn(blocks=1, dropout=0.5)
        x = random_array(4, 2, 8, 8, 4)
        qmodel = linger_jax.init(model)
        variables = initialised(qmodel, x, train=False)
        variables = linger_jax.calibrate(qmodel, variables, [x], progress=False)
        _, variables = trained(qmodel, variables, x, train=True, rngs={"dropout": jax.random.key(1)})
        assert np.all(np.isfinite(qmodel.apply(variables, x)))


KEY = jax.random.key(0)

# --- constrain (docs/specification/config.md section 5) ---------------------------------------------------------------


def test_constraining_keeps_running_statistics():
    x = normal(8, 6)
    model = nn.BatchNorm(use_running_average=True)
    variables = drawn(model, x)
    variables["batch_stats"] = {"mean": jnp.full(6, 0.5), "var": jnp.full(6, 2.0)}
    adopted = linger_jax.constrain(model).adopt(variables, x)
    jax.tree.map(np.testing.assert_array_equal, adopted["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize(
    "layer",
    [
        nn.LayerNorm(use_bias=False, use_scale=False),
        nn.BatchNorm(use_running_average=False, use_bias=False, use_scale=False),
    ],
    ids=["LayerNorm", "BatchNorm"],
)
def test_norms_without_affine_parameters_work_under_clamps(layer):
    x = 20.0 * normal(16, 6)
    clamps = {"clamp_weight_value": 0.5, "clamp_bias_value": 0.25, "clamp_activation_value": 1}
    cmodel = linger_jax.constrain(layer, {"clamp_info": clamps})
    y, _ = cmodel.apply(cmodel.init(KEY, x), x, mutable=["batch_stats"])
    assert jnp.abs(y).max() <= 1.0

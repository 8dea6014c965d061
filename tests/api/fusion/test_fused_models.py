"""What conversion leaves alone, and what an import of ConvBN checkpoints does not need.

Source: docs/specification/config.md, docs/specification/layers.md.
"""

import copy

import flax.linen as nn
import jax
import numpy as np
import pytest

import linger_jax
from linger_jax import converters
from tests.api.fusion.fused_blocks import ConvNormRelu, settled
from tests.models import random_array

IMAGE = random_array(1, 2, 9, 9, 3)


@pytest.mark.parametrize("convert", [linger_jax.init, linger_jax.constrain])
def test_converting_changes_neither_the_configuration_nor_the_model(convert, tmp_path):
    """The reference deletes ``activation_type`` from the live configuration.

    Source: docs/specification/config.md section 1.1.
    """
    model, config = ConvNormRelu(), linger_jax.QuantConfig(quant_info={"activation_type": "Relu"})
    variables = settled(model, IMAGE)
    before = copy.deepcopy(config), copy.deepcopy(model), jax.tree.map(np.asarray, variables)
    fused, traced, _ = linger_jax.trace_layers(model, variables, IMAGE)
    convert(fused, config).adopt(traced, IMAGE)
    assert (config, model) == before[:2]
    jax.tree.map(np.testing.assert_array_equal, variables, before[2])
    linger_jax.config_save_to_yaml(tmp_path / "c.yaml", config)
    assert linger_jax.load_config(tmp_path / "c.yaml") == config


def torch_weights(variables) -> dict[str, np.ndarray]:
    """A state dict as linger's fused module has it, without ``num_batches_tracked``."""
    params, statistics = variables["params"], variables["batch_stats"]["norm"]
    return {
        "conv.conv.weight": np.transpose(params["conv"]["kernel"], (3, 2, 0, 1)),
        "conv.conv.bias": np.asarray(params["conv"]["bias"]),
        "conv.bn.weight": np.asarray(params["norm"]["scale"]),
        "conv.bn.bias": np.asarray(params["norm"]["bias"]),
        "conv.bn.running_mean": np.asarray(statistics["mean"]),
        "conv.bn.running_var": np.asarray(statistics["var"]),
    }


def test_a_fused_checkpoint_needs_no_counter_of_batches():
    """Defect of docs/specification/layers.md section 5.2: a missing ``num_batches_tracked`` fails in the reference."""
    model = ConvNormRelu()
    want = settled(model, IMAGE)
    checkpoint = torch_weights(want)
    variables, _ = converters.from_torch(checkpoint, model, IMAGE)
    jax.tree.map(np.testing.assert_array_equal, dict(variables), want)
    fused, variables, adapter = linger_jax.trace_layers(model, variables, IMAGE)
    assert adapter.adapt(dict(checkpoint)) == checkpoint
    again, _ = converters.from_torch(checkpoint, fused, IMAGE)
    jax.tree.map(np.testing.assert_array_equal, dict(again), want)
    np.testing.assert_allclose(fused.apply(variables, IMAGE), model.apply(want, IMAGE), rtol=2e-5, atol=2e-5)


def test_the_part_of_a_fused_convolution_gives_its_bits_and_clamps():
    """Parts name the convolution; its normalization has no quantizers any more.

    Source: docs/specification/config.md section 1.2.
    """
    model = ConvNormRelu()
    fused, variables, _ = linger_jax.trace_layers(model, settled(model, IMAGE), IMAGE)
    part = {"name": "conv", "quant_info": {"weight_bits": 4, "output_bits": 16}}
    plan = linger_jax.init(fused, {"part1": part}).plan(variables, IMAGE)
    bits = {path[-1]: quantizer.spec.bits for path, quantizer in plan.quantizers.items()}
    assert bits == {"input_quantizer": 8, "weight_quantizer": 4, "bias_quantizer": 32, "output_quantizer": 16}


def test_platform_limits_hold_for_a_fused_convolution():
    """The error names layer, platform, value and range (docs/specification/config.md section 2.3)."""
    model = ConvNormRelu(options={"strides": (3, 3)})
    fused, variables, _ = linger_jax.trace_layers(model, settled(model, IMAGE), IMAGE)
    with pytest.raises(linger_jax.LingerError, match=r"layer 'conv': stride 3 .*venusA"):
        linger_jax.init(fused).adopt(variables, IMAGE)


@pytest.mark.filterwarnings("ignore:clamps cut values:linger_jax.LingerWarning")
def test_calibration_of_a_fused_model_sees_clamped_unquantized_values():
    """On a folded convolution the statistic is that of the float model's output (docs/decisions.md D7)."""

    class Pair(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=True, name="norm")(nn.Conv(4, (3, 3), name="conv")(x))

    variables = settled(Pair(), IMAGE)
    fused, _, _ = linger_jax.trace_layers(Pair(), variables, IMAGE)
    config = {"quant_info": {"a_calibrate_name": "abs_max"}, "clamp_info": {"clamp_factor_value": None}}
    qmodel = linger_jax.init(fused, config)
    calibrated = linger_jax.calibrate(qmodel, qmodel.adopt(variables, IMAGE), [IMAGE], progress=False)
    largest = np.minimum(np.abs(Pair().apply(variables, IMAGE)).max(), 8)
    found = calibrated["quant"]["conv"]["output_quantizer"]["running_data"]
    np.testing.assert_allclose(found, largest, rtol=1e-5)

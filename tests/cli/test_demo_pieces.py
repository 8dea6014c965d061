"""The demo's data, measures and table."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from rich.console import Console

import linger_jax
from linger_jax.cli.demo.checkpoint import require_equal, restore_training_state, save_training_state
from linger_jax.cli.demo.digits import load_digits
from linger_jax.cli.demo.measures import exponents, float_kib, quantized_kib
from linger_jax.cli.demo.results import Stage, results_table
from linger_jax.cli.demo.torch_network import train_torch
from linger_jax.cli.demo.training import falling_rate, train, variables_of
from tests.cli.unwritable import space_for


class Small(nn.Module):
    @nn.compact
    def __call__(self, images, train=False):
        return nn.Dense(10)(images.reshape(len(images), -1))


def test_the_parts_are_disjoint_complete_and_of_equal_digit_shares():
    digits = load_digits(0)
    parts = (digits.train, digits.validation, digits.test)
    assert [len(part) for part in parts] == [897, 180, 720]
    # Some scans look alike: compare how often each image occurs with the whole set.
    together = np.concatenate([part.images for part in parts]).reshape(1797, -1)
    other = load_digits(1)
    again = np.concatenate([part.images for part in (other.train, other.validation, other.test)]).reshape(1797, -1)
    assert np.array_equal(together[np.lexsort(together.T)], again[np.lexsort(again.T)])
    shares = np.bincount(np.concatenate([part.labels for part in parts])) / 1797
    for part in parts:
        assert np.all(np.abs(np.bincount(part.labels) - len(part) * shares) <= 1)
    assert 0 <= together.min() < together.max() == 1
    assert together.dtype == np.float32


def test_the_split_follows_the_seed():
    assert np.array_equal(load_digits(3).test.images, load_digits(3).test.images)
    assert not np.array_equal(load_digits(3).test.labels, load_digits(4).test.labels)


def test_torch_training_repeats_and_leaves_the_global_random_state():
    digits, before = load_digits(0), torch.get_rng_state()
    first, curves = train_torch(digits, epochs=range(1), count=1, seed=5)
    second, _ = train_torch(digits, epochs=range(1), count=1, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert len(curves.loss) == len(curves.accuracy) == 1


@pytest.fixture(scope="module")
def trained():
    digits = load_digits(0)
    model = linger_jax.init(Small(), {"quant_info": {"qat_method": "TQT", "weight_bits": 4}})
    variables = model.init(jax.random.key(0), digits.train.images[:2])
    variables = linger_jax.calibrate(model, variables, [digits.train.images[:64]], progress=False)
    # optax's schedules multiply Python floats by integer counts.
    with jax.numpy_dtype_promotion("standard"):
        optimiser = falling_rate(1, digits, 1e-2, 1e-2)
        state, curves = train(model, variables, digits, optimiser, epochs=range(1), key=jax.random.key(0))
    return model, digits, variables, state, curves


def test_training_moves_weights_and_thresholds_and_learns(trained):
    _, _, before, state, curves = trained
    assert curves.accuracy[0] > 30
    assert not jnp.array_equal(before["params"]["Dense_0"]["kernel"], state.params["Dense_0"]["kernel"])
    old, new = (p["Dense_0"]["weight_quantizer"]["learning_data"] for p in (before["params"], state.params))
    assert not jnp.array_equal(old, new)


def test_a_model_occupies_its_bit_widths(trained):
    model, digits, _, state, _ = trained
    variables = variables_of(state)
    plan = model.plan(variables, digits.train.images[:2])
    assert quantized_kib(plan, variables) == (640 * 4 + 10 * 32) / 8 / 1024
    assert float_kib({"params": {"Dense_0": {"kernel": np.zeros((64, 10)), "bias": np.zeros(10)}}}) == 650 * 4 / 1024


def test_exponents_are_those_of_the_stored_scales(trained):
    model, digits, _, state, _ = trained
    variables = variables_of(state)
    found = exponents(model.plan(variables, digits.train.images[:2]), variables)
    layer = variables["quant"]["Dense_0"]
    assert found == {
        f"Dense_0.{role}": int(jnp.log2(layer[role]["scale"]))
        for role in ("input_quantizer", "weight_quantizer", "output_quantizer")
    }


def test_a_checkpoint_comes_back_bit_for_bit_and_a_changed_one_is_named(trained, tmp_path):
    state = trained[3]
    save_training_state(tmp_path / "state", state)
    restored = restore_training_state(tmp_path / "state", state)
    require_equal(restored, state, tmp_path)
    kernel = restored.params["Dense_0"]["kernel"]
    changed = restored.replace(
        params={**restored.params, "Dense_0": {**restored.params["Dense_0"], "kernel": kernel + 1}}
    )
    with pytest.raises(linger_jax.LingerError, match=r"params\['Dense_0'\]\['kernel'\]"):
        require_equal(changed, state, tmp_path)


def test_a_checkpoint_that_cannot_be_saved_leaves_the_older_one(trained, tmp_path, caplog):
    state = trained[3]
    save_training_state(tmp_path / "state", state)
    save_training_state(tmp_path / "state", state.replace(step=7))
    with space_for(300), pytest.raises(linger_jax.FileError, match="File too large"):
        save_training_state(tmp_path / "state", state.replace(step=8))
    assert restore_training_state(tmp_path / "state", state).step == 7
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert caplog.records == []


def test_the_table_shows_the_distance_to_the_float_model():
    stages = [
        Stage(name="float", accuracy=99.0, kib=80, seconds=1),
        Stage(name="QAT", accuracy=98.5, kib=20, seconds=2),
    ]
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(results_table(stages, reference=stages[0]))
    lines = capture.get().splitlines()
    assert next(line.split("│")[1:-1] for line in lines if "QAT" in line) == [
        " QAT   ", "       98.50 % ", "    -0.50 ", " 20.0 KiB ", " 2.0 s "
    ]  # fmt: skip

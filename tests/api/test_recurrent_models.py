"""A whole recurrent model on sequences that have to be listened to: init, calibrate, 20 steps, evaluation.

Models over sequences of one length are in tests/zoo.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import linger_jax
from linger_jax.nn import TorchGRUCell
from tests.models import initialised

BATCH, TIME, CLASSES, STEPS = 32, 12, 3, 20


class KeywordSpotter(nn.Module):
    """Frames of different number, two GRUs, and a head on the state after the last frame."""

    @nn.compact
    def __call__(self, frames, lengths):
        x = nn.relu(nn.Dense(12)(frames))
        x = nn.RNN(nn.GRUCell(12))(x, seq_lengths=lengths)
        state, _ = nn.RNN(TorchGRUCell(12), return_carry=True)(x, seq_lengths=lengths)
        return nn.Dense(CLASSES)(state)


def frame_batch(seed):
    """Noise, a band that rises, falls or stays for three frames somewhere in it, and padding after the end."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, BATCH)
    lengths = random.integers(6, TIME + 1, BATCH)
    frames = 0.2 * random.normal(size=(BATCH, TIME, 6))
    for i, (label, length) in enumerate(zip(labels, lengths, strict=True)):
        start = random.integers(0, length - 3)
        for step in range(3):
            frames[i, start + step, (step, 2 - step, 4)[label]] += 2.0
        frames[i, length:] = 100.0  # what is behind the end must count nowhere
    return (jnp.asarray(frames, jnp.float32), jnp.asarray(lengths, jnp.int32)), jnp.asarray(labels, jnp.int32)


@pytest.mark.slow
def test_a_model_over_sequences_of_different_length_is_quantized_whole_and_learns():
    qmodel, batch = linger_jax.init(KeywordSpotter()), frame_batch
    inputs, _ = batch(0)
    variables = initialised(qmodel, *inputs)
    plan = qmodel.plan(variables, *inputs)
    assert not plan.float_rows
    assert plan.multiply_accumulates.share >= 0.99
    variables = linger_jax.calibrate(qmodel, variables, [batch(i)[0] for i in range(2)], progress=False)
    optimizer = optax.sgd(0.3, momentum=0.9)

    @jax.jit
    def step(params, quant, slots, inputs, labels):
        def loss_of(params):
            logits, updates = qmodel.apply({"params": params, "quant": quant}, *inputs, mutable=["quant"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates["quant"]

        (loss, quant), slopes = jax.value_and_grad(loss_of, has_aux=True)(params)
        changes, slots = optimizer.update(slopes, slots, params)
        return optax.apply_updates(params, changes), quant, slots, loss

    params, quant, slots, losses = variables["params"], variables["quant"], optimizer.init(variables["params"]), []
    for i in range(STEPS):
        params, quant, slots, loss = step(params, quant, slots, *batch(i))
        losses.append(float(loss))
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    inputs, labels = batch(100)
    logits = qmodel.apply({"params": params, "quant": quant}, *inputs)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    assert loss < np.mean(losses[:4])

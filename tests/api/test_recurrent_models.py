"""Whole recurrent models on sequences that have to be listened to: init, calibrate, 20 steps, evaluation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import linger_jax
from linger_jax.nn import TorchGRUCell

BATCH, TIME, CLASSES, STEPS = 32, 12, 3, 20


class BiLstmClassifier(nn.Module):
    """Tokens, an embedding, an LSTM in both directions, and a head on where each direction ended."""

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(8, 8, embedding_init=nn.initializers.normal(0.5))(tokens)
        y = nn.Bidirectional(nn.RNN(nn.OptimizedLSTMCell(12)), nn.RNN(nn.OptimizedLSTMCell(12)))(x)
        ends = jnp.concatenate([y[:, -1, :12], y[:, 0, 12:]], axis=-1)
        return nn.Dense(CLASSES)(ends)


class KeywordSpotter(nn.Module):
    """Frames of different number, two GRUs, and a head on the state after the last frame."""

    @nn.compact
    def __call__(self, frames, lengths):
        x = nn.relu(nn.Dense(12)(frames))
        x = nn.RNN(nn.GRUCell(12))(x, seq_lengths=lengths)
        state, _ = nn.RNN(TorchGRUCell(12), return_carry=True)(x, seq_lengths=lengths)
        return nn.Dense(CLASSES)(state)


def token_batch(seed):
    """Random tokens, and somewhere in them three times the one that says the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, BATCH)
    tokens = random.integers(0, 4, (BATCH, TIME))
    start = random.integers(0, TIME - 2, BATCH)
    for step in range(3):
        tokens[np.arange(BATCH), start + step] = 5 + labels
    return (jnp.asarray(tokens, jnp.int32),), jnp.asarray(labels, jnp.int32)


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


MODELS = {"BiLSTM classifier": (BiLstmClassifier, token_batch), "GRU keyword spotter": (KeywordSpotter, frame_batch)}


@pytest.mark.parametrize(("model", "batch"), MODELS.values(), ids=MODELS.keys())
def test_model_is_quantized_whole_and_learns(model, batch):
    qmodel = linger_jax.init(model())
    inputs, _ = batch(0)
    variables = qmodel.init(jax.random.key(0), *inputs)
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

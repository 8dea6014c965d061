"""Models written as their users write them are quantized whole, learn, and are compiled once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from tests.zoo.autoencoder import Vae
from tests.zoo.convolutional import MobileNet, ResNet18
from tests.zoo.data import Batch, counting, digits, images, rows, tones
from tests.zoo.quantization import Loss, cross_entropy, trained
from tests.zoo.recurrent import BiLstmClassifier, GruKeywordSpotter
from tests.zoo.transformers import Decoder, TransformerClassifier


def evidence(output: Any, pixels: Any) -> jax.Array:
    """Negative evidence lower bound of the autoencoder."""
    logits, mean, log_variance = output
    likelihood = optax.sigmoid_binary_cross_entropy(logits, pixels).sum(-1)
    divergence = 0.5 * (jnp.exp(log_variance) + mean**2 - 1 - log_variance).sum(-1)
    return jnp.mean(likelihood + divergence)


def themselves(count: int) -> Batch:
    """Digits to be reproduced."""
    pixels, _ = digits(count)
    return pixels, pixels


@dataclasses.dataclass(frozen=True)
class Specimen:
    """A model, what it learns from, and the operators of it that no chip of the field has an integer form for."""

    model: nn.Module
    batch: Callable[[], Batch]
    loss: Loss = cross_entropy
    floats: tuple[str, ...] = ()


SPECIMENS = {
    "ResNet-18": Specimen(ResNet18(), lambda: images(32, 16)),
    "MobileNet": Specimen(MobileNet(), lambda: images(32, 16)),
    "transformer encoder": Specimen(TransformerClassifier(), lambda: rows(32)),
    "decoder of raw products": Specimen(
        Decoder(),
        lambda: counting(32, 12, 16),
        # Twice in a block: a root mean square and the halves of a rotation; the causal mask; the final norm.
        floats=("square", "sub", "sub", "select_n", "square", "square"),
    ),
    "bidirectional LSTM": Specimen(BiLstmClassifier(), lambda: rows(32)),
    "GRU keyword spotter": Specimen(GruKeywordSpotter(), lambda: tones(32, 20, 8)),
    "variational autoencoder": Specimen(Vae(), lambda: themselves(64), evidence, floats=("exp",)),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:_linger_qtensor_qmul_0 at .* counts as:linger_jax.LingerWarning")
@pytest.mark.parametrize("name", SPECIMENS)
def test_model_is_quantized_whole_and_learns(name):
    specimen = SPECIMENS[name]
    # These models rely on the implicit casts and broadcasts of jax.numpy, as most do.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        outcome = trained(specimen.model, specimen.batch(), specimen.loss)
    macs = outcome.plan.multiply_accumulates
    print(f"{name}: {macs}; loss {outcome.losses[0]:.3f} -> {outcome.losses[-1]:.3f}")
    assert macs.share >= 0.99
    assert tuple(row.op for row in outcome.plan.float_rows) == specimen.floats
    assert outcome.traces == 1
    assert sum(outcome.losses[-3:]) / 3 < 0.8 * outcome.losses[0]
    assert outcome.after < outcome.before

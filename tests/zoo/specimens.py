"""The networks of the zoo: what each learns from, and what a chip makes of it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from tests.zoo.autoencoder import Vae
from tests.zoo.convolutional import MobileNet, ResNet18
from tests.zoo.data import Batch, counting, digits, images, rows, tones
from tests.zoo.recurrent import BiLstmClassifier, GruKeywordSpotter
from tests.zoo.transformers import Decoder, TransformerClassifier

Loss = Callable[[Any, Any], jax.Array]


class OnChip(enum.Enum):
    """What becomes of a network behind training."""

    packed = "its file for the packer computes what evaluation computes, and is packed"
    written = "a chip computes it otherwise; its file as linger writes it computes what evaluation computes"
    untried = "not exported: its operators are in other networks, or have no form in a file"


@dataclasses.dataclass(frozen=True)
class Specimen:
    """A network.

    Attributes:
      model: called as ``model(x, train=...)``.
      batch: makes what it learns from.
      loss: of its output and the targets.
      floats: its operators that no chip of the field has an integer form for.
      platform: the chip.
      on_chip: what becomes of it there.
    """

    model: nn.Module
    batch: Callable[[], Batch]
    loss: Loss
    floats: tuple[str, ...] = ()
    platform: str = "venusA"
    on_chip: OnChip = OnChip.untried


def cross_entropy(logits: jax.Array, labels: Any) -> jax.Array:
    """Mean over all labels."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


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


SPECIMENS = {
    "ResNet-18": Specimen(ResNet18(), lambda: images(32, 16), cross_entropy),
    "MobileNet": Specimen(MobileNet(), lambda: images(32, 16), cross_entropy, on_chip=OnChip.packed),
    "transformer encoder": Specimen(TransformerClassifier(), lambda: rows(32), cross_entropy, on_chip=OnChip.written),
    "decoder of raw products": Specimen(
        Decoder(),
        lambda: counting(32, 12, 16),
        cross_entropy,
        # Twice in a block: a mean of squares and the halves of a rotation; the causal mask; the final norm.
        floats=("reduce_sum", "sub", "sub", "select_n", "reduce_sum", "reduce_sum"),
    ),
    "bidirectional LSTM": Specimen(
        BiLstmClassifier(), lambda: rows(32), cross_entropy, platform="arcs", on_chip=OnChip.packed
    ),
    "GRU keyword spotter": Specimen(
        GruKeywordSpotter(), lambda: tones(32, 20, 8), cross_entropy, on_chip=OnChip.packed
    ),
    "variational autoencoder": Specimen(
        Vae(), lambda: themselves(64), evidence, platform="arcs", on_chip=OnChip.packed
    ),
}

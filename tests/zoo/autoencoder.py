"""A variational autoencoder (Kingma and Welling 2014), as in Flax's own examples."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array


class Vae(nn.Module):
    """Pixels to a Gaussian, a draw from it, and back to logits of pixels."""

    latents: int = 4
    hidden: int = 32

    def setup(self) -> None:
        self.encoder_hidden = nn.Dense(self.hidden)
        self.encoder_mean = nn.Dense(self.latents)
        self.encoder_log_variance = nn.Dense(self.latents)
        self.decoder_hidden = nn.Dense(self.hidden)
        self.decoder_pixels = nn.Dense(64)

    def encode(self, x: Array) -> tuple[Array, Array]:
        """Mean and log variance of the latent Gaussian."""
        x = nn.relu(self.encoder_hidden(x))
        return self.encoder_mean(x), self.encoder_log_variance(x)

    def decode(self, z: Array) -> Array:
        """Logits of the pixels."""
        return self.decoder_pixels(nn.relu(self.decoder_hidden(z)))

    def __call__(self, x: Array, train: bool = True) -> tuple[Array, Array, Array]:
        mean, log_variance = self.encode(x)
        z = mean
        if train:
            noise = jax.random.normal(self.make_rng("latent"), mean.shape)
            z = mean + noise * jnp.exp(0.5 * log_variance)
        return self.decode(z), mean, log_variance

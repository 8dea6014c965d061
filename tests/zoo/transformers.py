"""An encoder from Flax's own attention, and a decoder whose products are all written by hand."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array


class EncoderBlock(nn.Module):
    """Pre-norm attention and feed-forward."""

    width: int
    heads: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        y = nn.LayerNorm(epsilon=1e-5)(x)
        y = nn.MultiHeadDotProductAttention(num_heads=self.heads)(y)
        x = x + nn.Dropout(0.1, deterministic=not train)(y)
        y = nn.LayerNorm(epsilon=1e-5)(x)
        y = nn.Dense(4 * self.width)(y)
        y = nn.gelu(y)
        y = nn.Dense(self.width)(y)
        return x + nn.Dropout(0.1, deterministic=not train)(y)


class TransformerClassifier(nn.Module):
    """Tokens of features in, class logits out."""

    classes: int = 10
    width: int = 16
    heads: int = 2
    depth: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        x = nn.Dense(self.width, name="embed")(x)
        x = x + self.param("positions", nn.initializers.normal(0.02), (1, x.shape[1], self.width))
        for _ in range(self.depth):
            x = EncoderBlock(self.width, self.heads)(x, train)
        x = nn.LayerNorm(epsilon=1e-5)(x)
        x = jnp.mean(x, axis=1)
        return nn.Dense(self.classes)(x)


def rms_norm(x: Array, scale: Array) -> Array:
    """x / rms(x) * scale."""
    variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(variance + 1e-6) * scale[None, None]


def rotate(x: Array) -> Array:
    """Rotary position embedding of [batch, time, heads, features]."""
    time, half = x.shape[1], x.shape[-1] // 2
    frequencies = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(time, dtype=jnp.float32)[:, None] * frequencies[None]
    sin, cos = jnp.sin(angles)[None, :, None], jnp.cos(angles)[None, :, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class DecoderBlock(nn.Module):
    """Attention and a gated feed-forward, all parameters raw: the style of Gemma and of many research models."""

    width: int
    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x: Array, _: None) -> tuple[Array, None]:
        features = self.width // self.heads
        init = nn.initializers.lecun_normal()
        attention_norm = self.param("attention_norm", nn.initializers.ones, (self.width,))
        w_qkv = self.param("w_qkv", init, (3, self.width, self.heads, features))
        w_out = self.param("w_out", init, (self.heads, features, self.width))
        y = rms_norm(x, attention_norm)
        q, k, v = (jnp.einsum("btd,dnh->btnh", y, w_qkv[i]) for i in range(3))
        scores = jnp.einsum("btnh,bsnh->bnts", rotate(q) * features**-0.5, rotate(k))
        causal = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
        weights = jax.nn.softmax(jnp.where(causal[None, None], scores, -30.0), axis=-1)
        x = x + jnp.einsum("bqnh,nhd->bqd", jnp.einsum("bnts,bsnh->btnh", weights, v), w_out)

        mlp_norm = self.param("mlp_norm", nn.initializers.ones, (self.width,))
        w_gate = self.param("w_gate", init, (self.width, self.hidden))
        w_up = self.param("w_up", init, (self.width, self.hidden))
        w_down = self.param("w_down", init, (self.hidden, self.width))
        y = rms_norm(x, mlp_norm)
        return x + (jax.nn.silu(y @ w_gate) * (y @ w_up)) @ w_down, None


class Decoder(nn.Module):
    """A language model: tied embedding, scanned and rematerialised blocks."""

    vocabulary: int = 16
    width: int = 16
    heads: int = 2
    depth: int = 1

    @nn.compact
    def __call__(self, tokens: Array, train: bool = True) -> Array:
        del train
        table = nn.Embed(self.vocabulary, self.width, name="table")
        blocks = nn.scan(
            nn.remat(DecoderBlock, prevent_cse=False),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.depth,
        )
        x, _ = blocks(self.width, self.heads, 2 * self.width, name="blocks")(table(tokens), None)
        x = rms_norm(x, self.param("final_norm", nn.initializers.ones, (self.width,)))
        return table.attend(x)

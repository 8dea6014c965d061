"""Small data that can be learnt: scikit-learn's digits in three shapes, counting sequences, tones."""

from __future__ import annotations

import functools

import numpy as np
from sklearn.datasets import load_digits

Batch = tuple[np.ndarray, np.ndarray]


@functools.cache
def _digits() -> Batch:
    pixels, labels = load_digits(return_X_y=True)
    return (pixels / 16.0).astype(np.float32), labels.astype(np.int32)


def digits(count: int) -> Batch:
    """float32 [count, 64] in 0..1, and labels int32 [count]."""
    pixels, labels = _digits()
    return pixels[:count], labels[:count]


def images(count: int, size: int) -> Batch:
    """Digits as images, float32 [count, size, size, 1], enlarged by repetition."""
    pixels, labels = digits(count)
    factor = size // 8
    return pixels.reshape(-1, 8, 8, 1).repeat(factor, 1).repeat(factor, 2), labels


def rows(count: int) -> Batch:
    """Digits as sequences of eight rows, float32 [count, 8, 8]."""
    pixels, labels = digits(count)
    return pixels.reshape(-1, 8, 8), labels


def counting(count: int, length: int, vocabulary: int) -> Batch:
    """Tokens that count up by a step of their own, int32 [count, length], and the tokens that follow them."""
    random = np.random.default_rng(0)
    start, step = random.integers(0, vocabulary, (count, 1)), random.integers(1, 4, (count, 1))
    tokens = ((start + step * np.arange(length + 1)) % vocabulary).astype(np.int32)
    return tokens[:, :-1], tokens[:, 1:]


def tones(count: int, length: int, bands: int) -> Batch:
    """A spectrogram with one rising, falling, high or low tone, float32 [count, length, bands], and which it is."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, count)
    position = np.linspace(0, bands - 1, length)
    tracks = np.stack([position, position[::-1], np.full(length, bands - 2.0), np.full(length, 1.0)])[labels]
    tracks = tracks + random.normal(0, 0.5, (count, 1))
    spectrum = np.exp(-((np.arange(bands) - tracks[..., None]) ** 2)) + random.normal(0, 0.05, (count, length, bands))
    return spectrum.astype(np.float32), labels.astype(np.int32)

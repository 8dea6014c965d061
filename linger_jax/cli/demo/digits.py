"""The handwritten digits of scikit-learn: 1,797 scanned images of 8 x 8 pixels, shipped with the library."""

from __future__ import annotations

import dataclasses

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split

TEST_IMAGES = 720
VALIDATION_IMAGES = 180
BATCH_SIZE = 64
_LARGEST_PIXEL = 16.0


@dataclasses.dataclass(frozen=True)
class Split:
    """Images (float32 [n, 8, 8, 1] in 0..1) and labels (int32 [n])."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Digits:
    """Three disjoint parts: to train on, to watch training with, and to report once at the end of a stage."""

    train: Split
    validation: Split
    test: Split


def load_digits(seed: int) -> Digits:
    """Split the images at random with equal shares of each digit: 897 to train on, 180 to validate, 720 to test.

    Half of the images are kept from training so that one image counts 0.14 points of test accuracy.

    Args:
      seed: decides the split.
    """
    bunch = datasets.load_digits()
    images = (bunch.images[..., None] / _LARGEST_PIXEL).astype(np.float32)
    labels = bunch.target.astype(np.int32)
    rest, test = train_test_split(np.arange(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=seed)
    train, validation = train_test_split(rest, test_size=VALIDATION_IMAGES, stratify=labels[rest], random_state=seed)
    return Digits(*(Split(images[index], labels[index]) for index in (train, validation, test)))

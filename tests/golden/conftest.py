"""Models of users run under the promotion rules of users."""

from __future__ import annotations

import jax
import pytest


@pytest.fixture(autouse=True)
def _promotion_of_users():
    """Flax's own ``avg_pool`` divides a float by an integer, which the strict promotion of the other tests refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield

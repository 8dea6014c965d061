"""Pooling: windows, maxima, and the chips' integer division of averages."""

from linger_jax.numerics.pooling.max_pool import max_pool as max_pool
from linger_jax.numerics.pooling.pool_division import divide as divide
from linger_jax.numerics.pooling.sliding_windows import Windows as Windows

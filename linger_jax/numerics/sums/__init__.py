"""Sums whose order is fixed or does not matter."""

from linger_jax.numerics.sums.cascade_sum import cascade_sum as cascade_sum
from linger_jax.numerics.sums.channel_cascade import channel_mean as channel_mean
from linger_jax.numerics.sums.channel_cascade import channel_variance as channel_variance
from linger_jax.numerics.sums.exact_sum import channel_moments as channel_moments

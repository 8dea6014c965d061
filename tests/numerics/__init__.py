"""Tests of linger_jax.numerics."""

"""Tests of linger_jax.quantizers."""

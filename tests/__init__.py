"""Tests of linger_jax and converters."""

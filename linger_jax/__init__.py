"""Quantization-aware training for JAX and Flax, bit-exact with the target chips."""

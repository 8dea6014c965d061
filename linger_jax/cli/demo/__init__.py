"""The demo: a PyTorch checkpoint becomes a quantized JAX model, on handwritten digits."""

from linger_jax.cli.demo.job import run_demo as run_demo

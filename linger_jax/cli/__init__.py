"""The command line: ``linger-jax`` and ``python -m linger_jax``."""

from linger_jax.cli.app import main as main

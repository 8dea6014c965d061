"""``linger-jax run``: a file, run on arrays of ``.npy`` and ``.npz`` files."""

from linger_jax.cli.run.run_command import run as run

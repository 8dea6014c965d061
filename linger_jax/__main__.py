"""``python -m linger_jax`` is ``linger-jax``."""

from linger_jax.cli import main

if __name__ == "__main__":
    main()

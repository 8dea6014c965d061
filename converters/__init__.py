"""Models and checkpoints of other toolkits in and out of linger_jax."""

"""Checkpoint files and the state dicts in them."""

"""Deciding for each node: quantized, passing a scale on, or float and why."""

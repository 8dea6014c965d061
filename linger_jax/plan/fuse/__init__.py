"""Layers that are computed together, as ``trace_layers`` finds them."""

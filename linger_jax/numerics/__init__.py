"""Exact arithmetic of the quantizers and the target chips; knows nothing of Flax or of models."""

"""Whole models as users write them in Flax, and their way through calibration, training and evaluation."""

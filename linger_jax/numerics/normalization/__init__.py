"""Normalizations in integers, and folded into the convolution before them."""

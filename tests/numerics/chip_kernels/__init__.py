"""Tests of the chips' integer kernels."""

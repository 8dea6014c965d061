"""Convolutions: the float ones with their lowerings on CPU, and the exact ones of integers."""

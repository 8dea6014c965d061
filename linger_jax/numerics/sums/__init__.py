"""Sums whose order is fixed or does not matter."""

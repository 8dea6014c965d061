"""Pooling: windows, maxima, and the chips' integer division of averages."""

"""Drawn models: the calls of every kind, configurations, numbers."""

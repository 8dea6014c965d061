"""Damaged files and interrupted writes."""

"""Replays golden files of the reference toolkit: ``python -m tests.golden DIR``."""

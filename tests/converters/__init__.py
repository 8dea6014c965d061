"""Tests of importing PyTorch models."""

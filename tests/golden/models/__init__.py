"""The Flax models and layers that files describe in PyTorch's terms."""

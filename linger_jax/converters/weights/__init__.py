"""The weights of layers as PyTorch stores them, and as Flax variables hold them."""

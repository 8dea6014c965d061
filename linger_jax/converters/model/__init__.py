"""What a model has room for: its layers, variables and places of quantizers."""

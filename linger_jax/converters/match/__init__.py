"""Which tensor of a checkpoint goes into which variable of a model."""

"""LSTM and GRU layers: as nodes of their own, or of operators step by step."""

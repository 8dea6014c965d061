"""Quantized LSTM and GRU layers over the chip's integer cells."""

from linger_jax.interpret.recurrent.arguments import InitialState as InitialState
from linger_jax.interpret.recurrent.cell_weights import DirectionWeights as DirectionWeights
from linger_jax.interpret.recurrent.chip_cell import chip_cell as chip_cell
from linger_jax.interpret.recurrent.quantized_layer import recurrent_layer as recurrent_layer

"""Quantized LSTM and GRU layers over the chip's integer cells."""

from linger_jax.interpret.recurrent.arguments import InitialState as InitialState
from linger_jax.interpret.recurrent.layer import recurrent_layer as recurrent_layer
from linger_jax.interpret.recurrent.weights import DirectionWeights as DirectionWeights

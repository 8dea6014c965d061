"""Convolutions: the float ones with their lowerings on CPU, and the exact ones of integers."""

from linger_jax.numerics.convolution import integer_convolution as integer_convolution
from linger_jax.numerics.convolution.convolution import conv as conv
from linger_jax.numerics.convolution.integer_convolution import convolution as convolution

"""Flax layers of the reference toolkit that Flax itself does not have."""

from linger_jax.nn.conv_transpose import ConvTranspose as ConvTranspose
from linger_jax.nn.sparify_ffn import SparifyFFN as SparifyFFN
from linger_jax.nn.sparify_ffn import SparsitySchedule as SparsitySchedule
from linger_jax.nn.torch_cells import TorchGRUCell as TorchGRUCell
from linger_jax.nn.torch_cells import TorchLSTMCell as TorchLSTMCell

"""Flax layers of the reference toolkit that Flax itself does not have."""

from linger_jax.nn.conv_transpose import ConvTranspose as ConvTranspose
from linger_jax.nn.sparify_ffn import FINAL_SHARE as FINAL_SHARE
from linger_jax.nn.sparify_ffn import GROUPS as GROUPS
from linger_jax.nn.sparify_ffn import SparifyFFN as SparifyFFN
from linger_jax.nn.sparify_ffn import SparsitySchedule as SparsitySchedule
from linger_jax.nn.sparify_ffn import kept_groups as kept_groups
from linger_jax.nn.sparify_ffn import select_largest as select_largest
from linger_jax.nn.torch_cells import TorchGRUCell as TorchGRUCell
from linger_jax.nn.torch_cells import TorchLSTMCell as TorchLSTMCell

"""The weights of layers as PyTorch stores them, and as Flax variables hold them."""

from linger_jax.converters.weights.feature_orders import FlattenOrder as FlattenOrder
from linger_jax.converters.weights.feature_orders import decided_orders as decided_orders
from linger_jax.converters.weights.feature_orders import stored_otherwise as stored_otherwise
from linger_jax.converters.weights.layer_weights import LeafRule as LeafRule
from linger_jax.converters.weights.layer_weights import leaf_rules as leaf_rules
from linger_jax.converters.weights.recurrent_matrices import numbered as numbered
from linger_jax.converters.weights.recurrent_matrices import recurrent_sizes as recurrent_sizes
from linger_jax.converters.weights.torch_modules import Signature as Signature
from linger_jax.converters.weights.torch_modules import TorchModule as TorchModule
from linger_jax.converters.weights.torch_modules import layer_signature as layer_signature
from linger_jax.converters.weights.torch_modules import module_signature as module_signature
from linger_jax.converters.weights.torch_modules import same_sort as same_sort
from linger_jax.converters.weights.torch_modules import torch_modules as torch_modules

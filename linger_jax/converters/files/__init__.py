"""Checkpoint files and the state dicts in them."""

from linger_jax.converters.files.checkpoint_files import FOLDER_FILES as FOLDER_FILES
from linger_jax.converters.files.linger_state import EXPORT_BUFFERS as EXPORT_BUFFERS
from linger_jax.converters.files.linger_state import PLACEHOLDER as PLACEHOLDER
from linger_jax.converters.files.linger_state import LingerState as LingerState
from linger_jax.converters.files.linger_state import is_quantizer_key as is_quantizer_key
from linger_jax.converters.files.linger_state import split_quantizer_key as split_quantizer_key
from linger_jax.converters.files.linger_state import split_state as split_state
from linger_jax.converters.files.name_files import save_names as save_names
from linger_jax.converters.files.packed_tensors import Part as Part
from linger_jax.converters.files.packed_tensors import packed as packed
from linger_jax.converters.files.safetensors_file import write_safetensors_file as write_safetensors_file
from linger_jax.converters.files.torch_file import require_torch as require_torch
from linger_jax.converters.files.torch_file import write_torch_file as write_torch_file
from linger_jax.converters.files.torch_state import COUNTER as COUNTER
from linger_jax.converters.files.torch_state import TorchState as TorchState
from linger_jax.converters.files.torch_state import in_factors as in_factors
from linger_jax.converters.files.torch_state import read_state as read_state
from linger_jax.converters.files.weight_normalization import NormalisedWeight as NormalisedWeight

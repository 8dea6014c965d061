"""Models and checkpoints of other toolkits in and out of linger_jax."""

from linger_jax.api import CheckpointAdapter as CheckpointAdapter
from linger_jax.converters.linger_import import load_linger_checkpoint as load_linger_checkpoint
from linger_jax.converters.report import ImportReport as ImportReport
from linger_jax.converters.report import ImportRow as ImportRow
from linger_jax.converters.torch_export import save_torch as save_torch
from linger_jax.converters.torch_export import to_torch as to_torch
from linger_jax.converters.torch_import import from_torch as from_torch
from linger_jax.errors import ConversionError as ConversionError

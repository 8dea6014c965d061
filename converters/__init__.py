"""The name that users of linger expect at the top level: everything here is ``linger_jax.converters``."""

from linger_jax.converters import CheckpointAdapter as CheckpointAdapter
from linger_jax.converters import ConversionError as ConversionError
from linger_jax.converters import ImportReport as ImportReport
from linger_jax.converters import ImportRow as ImportRow
from linger_jax.converters import from_torch as from_torch
from linger_jax.converters import load_linger_checkpoint as load_linger_checkpoint
from linger_jax.converters import save_torch as save_torch
from linger_jax.converters import to_torch as to_torch

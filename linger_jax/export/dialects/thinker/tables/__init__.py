"""Functions of one tensor of 8 bits as tables, where the chip does not compute them as evaluation does."""

from linger_jax.export.dialects.thinker.tables.tables_for_functions import (
    tables_for_functions as tables_for_functions,
)

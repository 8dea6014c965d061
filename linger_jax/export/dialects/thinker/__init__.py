"""The dialect that the vendor's packer accepts: a finished graph of linger's dialect, rewritten rule by rule."""

from linger_jax.export.dialects.thinker.rewriting import Target as Target
from linger_jax.export.dialects.thinker.rewritings import to_thinker as to_thinker

"""The dialect that the vendor's packer accepts: a finished graph of linger's dialect, rewritten rule by rule."""

from linger_jax.export.thinker.dialect import to_thinker as to_thinker
from linger_jax.export.thinker.rewrite import Target as Target

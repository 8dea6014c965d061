"""The dialect that the vendor's packer accepts: a finished graph of linger's dialect, rewritten rule by rule."""

from linger_jax.export.dialects.thinker.thinker_dialect import THINKER as THINKER

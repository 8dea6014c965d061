"""The dialects of ONNX that a file can be written in."""

from collections.abc import Mapping

from linger_jax.export.dialects.dialect import Destination as Destination
from linger_jax.export.dialects.dialect import Dialect as Dialect
from linger_jax.export.dialects.dialect import Rewrite as Rewrite
from linger_jax.export.dialects.linger_dialect import LINGER as LINGER
from linger_jax.export.dialects.one_sample import first_sample as first_sample
from linger_jax.export.dialects.one_sample import one_sample as one_sample
from linger_jax.export.dialects.state_platform import state_platform as state_platform
from linger_jax.export.dialects.thinker import THINKER as THINKER

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (LINGER, THINKER)}
"""By name."""

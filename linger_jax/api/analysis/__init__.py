"""What quantization does to each layer and operator: ``analyse`` and its result."""

from linger_jax.api.analysis.analyse import analyse as analyse
from linger_jax.api.analysis.analysis import Analysis as Analysis

"""The dialects of ONNX that a file can be written in."""

from linger_jax.export.dialects.one_sample import one_sample as one_sample
from linger_jax.export.dialects.state_platform import state_platform as state_platform

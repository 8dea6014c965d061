"""Running exported ONNX files in pure integers, with the chip's arithmetic."""

from linger_jax.export.runner.dump import write_dump as write_dump
from linger_jax.export.runner.integer_tensor import IntegerTensor as IntegerTensor
from linger_jax.export.runner.integer_tensor import Value as Value
from linger_jax.export.runner.integer_tensor import limits as limits
from linger_jax.export.runner.runner import OnnxRunner as OnnxRunner

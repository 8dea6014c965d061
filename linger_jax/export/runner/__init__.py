"""Running exported ONNX files in pure integers, with the chip's arithmetic."""

from linger_jax.export.runner.runner import OnnxRunner as OnnxRunner

"""Onto the chip: ONNX files, and running them in integers."""

from linger_jax.export.dialects import DIALECTS as DIALECTS
from linger_jax.export.export_onnx import export_onnx as export_onnx
from linger_jax.export.lint import DeviceReport as DeviceReport
from linger_jax.export.lint import check_onnx as check_onnx
from linger_jax.export.packing import PackReport as PackReport
from linger_jax.export.packing import pack as pack
from linger_jax.export.runner import OnnxRunner as OnnxRunner

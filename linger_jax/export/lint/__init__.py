"""Device lint: what the vendor's packer and executor will make of a file, before anything is packed."""

from linger_jax.export.lint.check_onnx import check_onnx as check_onnx
from linger_jax.export.lint.check_onnx import check_program as check_program
from linger_jax.export.lint.checks import CHECKS_OF_SCALES as CHECKS_OF_SCALES
from linger_jax.export.lint.device_report import DeviceReport as DeviceReport
from linger_jax.export.lint.enforce import enforce as enforce
from linger_jax.export.lint.finding import Finding as Finding
from linger_jax.export.lint.finding import Severity as Severity
from linger_jax.export.lint.memory_plan import memory_use as memory_use
from linger_jax.export.lint.pack_options import PackOptions as PackOptions
from linger_jax.export.lint.program import Program as Program
from linger_jax.export.lint.program import program as program

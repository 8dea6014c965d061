"""Which chip a file is for, and whether the integers of evaluation are that chip's."""

from __future__ import annotations

from linger_jax.config import Platform
from linger_jax.errors import ExportError
from linger_jax.export.onnx import OnnxGraph


def state_platform(graph: OnnxGraph, asked: str | Platform | None, configured: Platform) -> Platform:
    """The chip of a file, written on its nodes.

    Args:
      graph: linger's dialect.
      asked: None for the configuration's.
      configured: what the model was trained for.

    Raises:
      ExportError: an unknown name, or another chip than the configuration's that computes one of the graph's operators
        differently: the model must be trained for it.
    """
    if asked is None:
        return configured
    if asked not in list(Platform):
        raise ExportError(f"platform is {asked!r}; allowed: {', '.join(Platform)}")
    platform = Platform(asked)
    differ = sorted({f"{n.label} ({n.op})" for n in graph.nodes if n.operator.differs_between_chips})
    if platform is not configured and differ:
        raise ExportError(
            f"the model is quantized for {configured.value}, {platform.value} computes {', '.join(differ)} with other "
            f"integers; set platform: {platform.value} in the configuration and calibrate or train again"
        )
    for node in graph.nodes:
        if "platform" in node.attributes:
            node.attributes["platform"] = platform.value
    return platform

"""Which chip a file is for, and whether the integers of evaluation are that chip's."""

from __future__ import annotations

from linger_jax.config import Platform
from linger_jax.errors import ExportError
from linger_jax.export.onnx import LINGER, OnnxGraph

# Functions, quotients and recurrent cells differ from chip to chip; products, sums and moves do not.
_DIFFER = frozenset(
    ("QSigmoid", "QTanh", "QGelu", "QSwish", "QSoftmax", "QGLU", "QAvgPool1d", "QAvgPool2d", "QLSTM", "QGRU")
)


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
    differ = sorted({f"{n.label} ({n.op})" for n in graph.nodes if n.domain == LINGER and n.op in _DIFFER})
    if platform is not configured and differ:
        raise ExportError(
            f"the model is quantized for {configured.value}, {platform.value} computes {', '.join(differ)} with other "
            f"integers; set platform: {platform.value} in the configuration and calibrate or train again"
        )
    for node in graph.nodes:
        if "platform" in node.attributes:
            node.attributes["platform"] = platform.value
    return platform

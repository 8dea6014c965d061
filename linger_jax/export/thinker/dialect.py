"""The rules of the dialect, in the order in which they are applied."""

from __future__ import annotations

from linger_jax.export.onnx_graph import OnnxGraph
from linger_jax.export.thinker.names import rename
from linger_jax.export.thinker.platform_attributes import add_platform_attributes
from linger_jax.export.thinker.rewrite import Rewrite, Target

REWRITES = (
    Rewrite("packer's names", "onnx_export.md section 4.1", rename),
    Rewrite("platform attributes", "onnx_export.md section 4.2", add_platform_attributes),
)


def to_thinker(graph: OnnxGraph, target: Target) -> OnnxGraph:
    """Rewrites a finished graph of linger's dialect into one that the packer accepts, where there is such a graph.

    The integers of every graph output stay what they are. What has no accepted form is left as it is: the device lint
    names it.

    Args:
      graph: is changed.
      target: what the file is for.

    Returns:
      ``graph``.

    Source: spec/onnx_export.md sections 1, 4 and 5, decision D19.
    """
    for rewrite in REWRITES:
        rewrite.apply(graph, target)
        graph.drop_dead()
    graph.rename_intermediates()
    return graph

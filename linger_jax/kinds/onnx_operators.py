"""The operators of linger's ONNX domain."""

from __future__ import annotations

CONVOLUTIONS = frozenset({"QConv1d", "QConv2d"})
TRANSPOSED = frozenset({"QConvTranspose1d", "QConvTranspose2d"})

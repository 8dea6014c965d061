"""Looking at the scales of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from linger_jax.api.quant_collection import QUANT
from linger_jax.errors import StateError
from linger_jax.typing import Path

_SCALE = "scale"


def scales(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The scale of every quantizer, by its dotted name.

    Args:
      variables: a quantized model's collections.

    Returns:
      For example ``{"conv1.output_quantizer": 64.0, ...}``, in the order of the collection: float32 scalars, integer
      steps per unit (a scale of 64 is Q6); an array where a layer is stacked by ``nn.scan``. A quantizer whose value
      comes quantized already shows the scale that came.

    Raises:
      StateError: there is no ``quant`` collection.
    """
    if QUANT not in variables:
        raise StateError("variables have no 'quant' collection: only a quantized model has scales")
    return {".".join(path): scale for path, scale in _walk(variables[QUANT], ())}


def _walk(entries: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in entries.items():
        if isinstance(value, Mapping):
            yield from _walk(value, (*path, key))
        elif key == _SCALE:
            yield path, value

"""A state dict of linger 3.0.9 taken apart: float weights, quantizer entries, counters, buffers without meaning."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from linger_jax.converters.files.torch_state import COUNTER, TorchState, released

# Entries of quantizers (docs/specification/quantizers.md section 2).
_QUANTIZER_KEY = re.compile(
    r"(?:(?P<site>.+?)\.)?(?P<quantizer>\w+_quantizer(?:\.\d+)?)\."
    r"(?P<entry>running_data|is_init|learning_data|is_calibrate|scale|is_init_mom_clamp_weight)"
)
# Tensors that hold nothing: buffers that linger's exporter fills, and what stands in for a BatchNorm that was fused.
EXPORT_BUFFERS = ("_export_weight", "_export_bias")
PLACEHOLDER = "_linger_ignore_parameter"
_MEANINGLESS = {
    **dict.fromkeys(EXPORT_BUFFERS, "buffer of linger's exporter"),
    PLACEHOLDER: "stands in for a BatchNorm that was fused into its convolution",
}


@dataclasses.dataclass(frozen=True, eq=False)
class LingerState:
    """The parts of a checkpoint.

    Attributes:
      source: the whole checkpoint.
      weights: what the float model has as well.
      quantizers: key of each entry, by module (``fc1``), quantizer (``input_quantizer.0``) and entry.
      counters: key of BatchNorm's counter of batches, by module.
    """

    source: TorchState
    weights: TorchState
    quantizers: Mapping[str, Mapping[str, Mapping[str, str]]]
    counters: Mapping[str, str]


def is_quantizer_key(key: str) -> bool:
    """Whether a key of a state dict is an entry of a quantizer."""
    return _QUANTIZER_KEY.fullmatch(key) is not None


def split_quantizer_key(key: str) -> tuple[str, str, str] | None:
    """Module, quantizer and entry that a key names, or None where it is no entry of a quantizer."""
    found = _QUANTIZER_KEY.fullmatch(key)
    return None if found is None else (found["site"] or "", found["quantizer"], found["entry"])


def split_state(source: TorchState) -> LingerState:
    """Takes a checkpoint apart; ``source`` was read with its counters."""
    quantizers: dict[str, dict[str, dict[str, str]]] = {}
    counters: dict[str, str] = {}
    weights: dict[str, Any] = {}
    dropped = list(source.dropped)
    for key, tensor in source.tensors.items():
        module, _, leaf = key.rpartition(".")
        entry = split_quantizer_key(key)
        if entry is not None:
            place, quantizer, name = entry
            quantizers.setdefault(place, {}).setdefault(quantizer, {})[name] = key
        elif leaf == COUNTER:
            counters[module] = key
        elif leaf in _MEANINGLESS:
            dropped.append((key, _MEANINGLESS[leaf]))
        else:
            weights[key] = tensor
    floats = dataclasses.replace(source, tensors=weights, dropped=tuple(dropped))
    # The weights live on in one place, where they are forgotten one by one.
    others = {key: released(tensor) if key in weights else tensor for key, tensor in source.tensors.items()}
    return LingerState(dataclasses.replace(source, tensors=others), floats, quantizers, counters)

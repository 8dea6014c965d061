"""What of a layer's case is static: equal forms share their compiled function."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tests.golden.case import Case
from tests.golden.models import torch_layout as layout
from tests.golden.models.flax_layers import LAYERS
from tests.golden.outcome import NotSupportedError

Tree = dict[str, Any]

LAYER = "layer"
"""Name of the layer in the one-layer model."""
MODES = ("train", "eval", "calibrate")


@dataclasses.dataclass(frozen=True)
class LayerForm:
    """The static half of a case: equal ones share their compiled function.

    Attributes:
      op: PyTorch's name of the layer.
      ctor, config: JSON text of its arguments and of the configuration.
      shape: of the input, channels last.
      mode: ``train``, ``eval`` or ``calibrate``.
      constrained: constrain instead of quantize.
      batches: training steps before this one, where the layer's form depends on them.
      input_bits: of an input that is quantized already, else None.
    """

    op: str
    ctor: str
    config: str
    shape: tuple[int, ...]
    mode: str
    constrained: bool
    batches: int
    input_bits: int | None

    @classmethod
    def of(cls, case: Case) -> LayerForm:
        """The static half of ``case``.

        Raises:
          NotSupportedError: a layer or a mode that is not covered.
        """
        constrained = case.family == "constrain"
        named = case.op.removeprefix("C") if constrained else case.op
        op, ctor = _unfused(named, case.meta.get("ctor") or {})
        if op not in LAYERS or (constrained and named == case.op):
            raise NotSupportedError(f"{case.family} {case.op} is not covered yet")
        if case.meta["mode"] not in MODES:
            raise NotSupportedError(f"{case.op}: mode {case.meta['mode']!r}")
        cumulative = "BatchNorm" in op and "momentum" in ctor and ctor["momentum"] is None
        bits = case.arrays.get("in.x.bits")
        return cls(
            op=op,
            ctor=json.dumps(ctor, sort_keys=True),
            config=json.dumps(configuration(case.meta, (LAYER,)), sort_keys=True),
            shape=layout.to_channels_last(op, case.arrays["in.x"]).shape,
            mode=case.meta["mode"],
            constrained=constrained,
            batches=int(case.arrays["state0.num_batches_tracked"]) if cumulative else 0,
            input_bits=None if bits is None else int(bits),
        )

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The layer's arguments."""
        return json.loads(self.ctor)

    @property
    def groups(self) -> int:
        """Groups of a convolution."""
        return int(self.arguments.get("groups", 1))


def _unfused(op: str, ctor: Mapping[str, Any]) -> tuple[str, Tree]:
    """A ConvBN layer after loading is a plain convolution with bias (docs/specification/layers.md section 5.1)."""
    if op not in ("ConvBN1d", "ConvBN2d", "ConvTransposeBN1d", "ConvTransposeBN2d"):
        return op, dict(ctor)
    return op.replace("BN", ""), {k: v for k, v in ctor.items() if k not in ("eps", "momentum")} | {"bias": True}


def configuration(meta: Mapping[str, Any], names: tuple[str, ...]) -> Tree:
    """The configuration of a file under ``compat: reference``; marks and widths of its layer through what they mean."""
    config: Tree = {**meta["config"], "compat": "reference"}
    info = dict(config["quant_info"])
    if meta.get("activation_type") is not None:
        info["activation_type"] = meta["activation_type"]
    config["quant_info"] = info
    widths = {key: meta[key] for key in ("input_bits", "output_bits") if meta.get(key) is not None}
    if widths:
        named = {key: value for key, value in info.items() if key != "qat_method"}
        config["part1"] = {"name": list(names), "quant_info": named | widths, "clamp_info": config["clamp_info"]}
    return config

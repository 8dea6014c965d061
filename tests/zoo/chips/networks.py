"""The networks by name, with what they read and what their configuration asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from tests.zoo.chips.images import MobileNetV2, MobileNetV3, ResNet, UNet
from tests.zoo.chips.sequences import Encoder, GatedConvolutions, Keywords, VisionTransformer

_IMAGE, _FRAMES, _TOKENS = (32, 32, 3), (20, 8), (12, 8)
_EXECUTOR, _PRIMITIVES = ({"gru_form": form} for form in ("executor", "primitives"))


@dataclasses.dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
      model: called as ``model(x, train=...)``.
      shape: of one sample.
      info: keys of ``quant_info``.
    """

    model: nn.Module
    shape: tuple[int, ...]
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)


NETWORKS = {
    "vit_patch_8": Network(VisionTransformer(), _IMAGE),
    "encoder": Network(Encoder(), _TOKENS),
    "resnet": Network(ResNet(), (64, 64, 3)),
    "mobilenet_v2": Network(MobileNetV2(), _IMAGE),
    "mobilenet_v3": Network(MobileNetV3(), _IMAGE),
    "unet": Network(UNet(), _IMAGE),
    "gated_convolutions": Network(GatedConvolutions(), _FRAMES),
    "keywords_gru": Network(Keywords("gru"), _FRAMES, _EXECUTOR),
    "keywords_gru_both": Network(Keywords("gru", both=True), _FRAMES, _EXECUTOR),
    "keywords_gru_primitives": Network(Keywords("gru"), _FRAMES, _PRIMITIVES),
    "keywords_gru_primitives_both": Network(Keywords("gru", both=True), _FRAMES, _PRIMITIVES),
    "keywords_lstm": Network(Keywords("lstm"), _FRAMES),
    "keywords_lstm_both": Network(Keywords("lstm", both=True), _FRAMES),
}

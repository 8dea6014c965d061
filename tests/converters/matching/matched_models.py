"""Small networks whose layers have to be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> torch.nn.Conv2d:
    return torch.nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class TorchBlock(torch.nn.Module):
    """A residual block; ``parts`` is the order in which its parts are registered."""

    def __init__(self, parts: Sequence[str], kind: str) -> None:
        super().__init__()
        bottleneck = kind == "bottleneck"
        made: dict[str, Any] = {
            "conv1": conv(4, 4 if bottleneck else 8, 1 if bottleneck else 3, 1),
            "bn1": torch.nn.BatchNorm2d(4 if bottleneck else 8),
            "conv2": conv(4, 8, 1) if bottleneck else conv(8, 8, 3),
            "bn2": torch.nn.BatchNorm2d(8),
            "down": torch.nn.Sequential(conv(4, 8, 1), torch.nn.BatchNorm2d(8)),
        }
        for part in parts:
            setattr(self, part, made[part])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.down(x)).relu()


class TorchResNet(torch.nn.Module):
    """Stem, block, classifier, which may be registered first."""

    def __init__(self, parts: Sequence[str], kind: str = "basic", head_first: bool = False) -> None:
        super().__init__()
        if head_first:
            self.fc = torch.nn.Linear(8, 3)
        self.stem = conv(3, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)
        self.layer1 = TorchBlock(parts, kind)
        if not head_first:
            self.fc = torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer1(self.bn(self.stem(x)).relu()).mean((2, 3)))


IN_ORDER = ("conv1", "bn1", "conv2", "bn2", "down")

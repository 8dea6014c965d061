"""The float network and its training in PyTorch: where the user's checkpoint comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from linger_jax.cli.demo.digits import BATCH_SIZE, Digits, Split
from linger_jax.cli.demo.results import Curves

LEARNING_RATE = 5e-3


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a convolution where the shape changes.

    Its window is as large as its stride: the chip's packer refuses a smaller one.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, stride, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, channels_in, h, w] to [n, channels, h / stride, w / stride]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.shortcut(x))


class DigitNet(nn.Module):
    """A small ResNet: stem, two residual blocks, max pooling between them, global mean, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        self.block1 = ResidualBlock(16, 16, stride=1)
        self.block2 = ResidualBlock(16, 32, stride=2)
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [n, 1, 8, 8] to logits [n, 10]."""
        x = functional.relu(self.stem_bn(self.stem(x)))
        x = functional.max_pool2d(self.block1(x), 2)
        x = self.block2(x).mean(dim=(2, 3))
        return self.classifier(x)


def train_torch(digits: Digits, *, epochs: Iterable[int], count: int, seed: int) -> tuple[DigitNet, Curves]:
    """Train the float network from scratch.

    Args:
      digits: the data.
      epochs: one entry an epoch.
      count: how many epochs those are; the learning rate follows one cycle of this length.
      seed: of the weights and of the order of the images. PyTorch's own random state is left as it was.
    """
    steps = count * (len(digits.train) // BATCH_SIZE)
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        network = DigitNet()
        optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
        images = _channels_first(digits.train.images)
        labels = torch.from_numpy(digits.train.labels).long()
        losses, accuracies = [], []
        for _ in epochs:
            network.train()
            batches = torch.randperm(len(labels)).split(BATCH_SIZE)
            total = 0.0
            for batch in (b for b in batches if len(b) == BATCH_SIZE):
                loss = functional.cross_entropy(network(images[batch]), labels[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item()
            losses.append(total / (len(labels) // BATCH_SIZE))
            accuracies.append(evaluate_torch(network, digits.validation))
    return network.eval(), Curves(tuple(losses), tuple(accuracies))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other make so small a network many times slower on a machine that is in use."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def predict_torch(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Logits [n, 10] of images [n, 8, 8, 1] by a network in evaluation mode."""
    with torch.no_grad():
        logits: np.ndarray = network(_channels_first(images)).numpy()
    return logits


def evaluate_torch(network: nn.Module, split: Split) -> float:
    """Share of images that are classified correctly, in percent."""
    network.eval()
    return 100 * float(np.mean(np.argmax(predict_torch(network, split.images), axis=-1) == split.labels))


def _channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

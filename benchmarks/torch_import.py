"""``python benchmarks/torch_import.py``: time and memory of importing a ResNet-101 state dict, random weights."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import flax.linen as nn
import jax
import jax.numpy as jnp
import torch

from linger_jax import converters

STAGES = ((3, 64), (4, 128), (23, 256), (3, 512))
MEGABYTE = 1e6


class Bottleneck(nn.Module):
    width: int
    stride: int
    projects: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.relu(norm("bn1")(conv(self.width, 1, 1, "conv1")(x)))
        y = nn.relu(norm("bn2")(conv(self.width, 3, self.stride, "conv2")(y)))
        y = norm("bn3")(conv(4 * self.width, 1, 1, "conv3")(y))
        if self.projects:
            x = norm("downsample_1")(conv(4 * self.width, 1, self.stride, "downsample_0")(x))
        return nn.relu(x + y)


class ResNet101(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(norm("bn1")(conv(64, 7, 2, "conv1")(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, (blocks, width) in enumerate(STAGES, start=1):
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 1 else 1
                x = Bottleneck(width, stride, block == 0, name=f"layer{stage}_{block}")(x)
        return nn.Dense(1000, name="fc")(x.mean((1, 2)))


def conv(features: int, kernel: int, stride: int, name: str) -> nn.Conv:
    return nn.Conv(features, (kernel, kernel), stride, padding=kernel // 2, use_bias=False, name=name)


def norm(name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True, name=name)


def state_dict() -> dict[str, torch.Tensor]:
    """Keys and shapes of torchvision's resnet101."""
    state: dict[str, torch.Tensor] = {}

    def convolution(key: str, outside: int, inside: int, kernel: int, bn: str) -> None:
        state[f"{key}.weight"] = torch.randn(outside, inside, kernel, kernel)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"{bn}.{leaf}"] = torch.rand(outside)
        state[f"{bn}.num_batches_tracked"] = torch.tensor(0)

    convolution("conv1", 64, 3, 7, "bn1")
    inside = 64
    for stage, (blocks, width) in enumerate(STAGES, start=1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            convolution(f"{at}.conv1", width, inside, 1, f"{at}.bn1")
            convolution(f"{at}.conv2", width, width, 3, f"{at}.bn2")
            convolution(f"{at}.conv3", 4 * width, width, 1, f"{at}.bn3")
            if block == 0:
                convolution(f"{at}.downsample.0", 4 * width, inside, 1, f"{at}.downsample.1")
            inside = 4 * width
    return state | {"fc.weight": torch.randn(1000, 2048), "fc.bias": torch.randn(1000)}


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Largest number of bytes in memory while it runs."""

    def __enter__(self) -> Watch:
        self.before = self.largest = resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.005):
            self.largest = max(self.largest, resident())


def main() -> None:
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet101.pt"
        torch.save(state_dict(), path)
        jnp.zeros(1).block_until_ready()
        with Watch() as memory:
            wall, processor = time.perf_counter(), time.process_time()
            _, report = converters.from_torch(path, ResNet101(), x)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
        size = path.stat().st_size
    print(report.summary)
    print(f"{size / MEGABYTE:.0f} MB in {wall:.1f} s ({processor:.1f} s of processor time)")
    print(f"peak memory {(memory.largest - memory.before) / size:.2f} times the file")


if __name__ == "__main__":
    main()

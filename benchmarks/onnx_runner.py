"""Running exported files beside the jitted fake-quantized evaluation they were exported from, at one batch.

    python benchmarks/onnx_runner.py --model mobilenet --repeat 15

Prints the median time of each, their ratio (median over turns), the time to compile the runner, and whether outputs
agree bit for bit; ``integer`` is ``apply(..., mode="integer")``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from models import CNN, MLP
from resnet50 import ResNet50
from rich.console import Console
from rich.table import Table
from timing import CLOCKS, median_ms, median_ratio, take_turns

import linger_jax


class SeparableNet(nn.Module):
    """A stem and depthwise-separable blocks, as MobileNet has them (Howard et al. 2017)."""

    blocks: Sequence[tuple[int, int]] = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1))

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm = partial(nn.BatchNorm, use_running_average=True)
        x = nn.relu(norm()(nn.Conv(32, (3, 3), (2, 2), padding=1, use_bias=False)(x)))
        for features, stride in self.blocks:
            depthwise = nn.Conv(
                x.shape[-1], (3, 3), (stride, stride), padding=1, feature_group_count=x.shape[-1], use_bias=False
            )
            x = nn.relu(norm()(depthwise(x)))
            x = nn.relu(norm()(nn.Conv(features, (1, 1), use_bias=False)(x)))
        return nn.Dense(10)(x.mean((1, 2)))


class ResNet18(nn.Module):
    """Four stages of two basic blocks (He et al. 2016), half as wide, for small images."""

    filters: int = 32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm = partial(nn.Conv, use_bias=False, padding=1), partial(nn.BatchNorm, use_running_average=True)
        x = nn.relu(norm()(conv(self.filters, (3, 3))(x)))
        for stage in range(4):
            for block in range(2):
                width, stride = self.filters * 2**stage, 2 if stage and not block else 1
                y = nn.relu(norm()(conv(width, (3, 3), (stride, stride))(x)))
                y = norm()(conv(width, (3, 3))(y))
                if x.shape != y.shape:
                    x = norm()(nn.Conv(width, (1, 1), (stride, stride), padding=0, use_bias=False)(x))
                x = nn.relu(x + y)
        return nn.Dense(10)(x.mean((1, 2)))


@dataclass(frozen=True)
class Subject:
    """A model and the shape of one sample."""

    model: Callable[[], nn.Module]
    sample: tuple[int, ...]


SUBJECTS = {
    "mlp": Subject(MLP, (784,)),
    "cnn": Subject(CNN, (32, 32, 3)),
    "mobilenet": Subject(SeparableNet, (64, 64, 3)),
    "resnet18": Subject(ResNet18, (32, 32, 3)),
    "resnet50": Subject(ResNet50, (64, 64, 3)),
}


def compare(name: str, batch: int, repeat: int, clock: str) -> list[str]:
    """One row of the table."""
    subject = SUBJECTS[name]
    x = jax.random.normal(jax.random.key(0), (batch, *subject.sample), jnp.float32)
    qmodel = linger_jax.init(subject.model(), {"platform": "arcs"})
    variables = qmodel.init(jax.random.key(1, impl="rbg"), x)
    variables = linger_jax.calibrate(qmodel, variables, [(x,)], progress=False)
    with tempfile.TemporaryDirectory() as folder:
        path = linger_jax.export_onnx(qmodel, variables, x[:1], Path(folder) / "model.onnx", dialect="linger")
        runner = linger_jax.OnnxRunner(path)
    image = np.ascontiguousarray(np.moveaxis(np.asarray(x), -1, 1)) if x.ndim > 2 else np.asarray(x)
    fake = jax.jit(lambda v, x: qmodel.apply(v, x))
    integer = jax.jit(lambda v, x: qmodel.apply(v, x, mode="integer"))
    start = time.perf_counter()
    (first,) = runner.run(image)
    compiling = time.perf_counter() - start
    expected = np.asarray(fake(variables, x))
    equal = np.array_equal(first, expected) and np.array_equal(integer(variables, x), expected)
    contenders: dict[str, Callable[[], Any]] = {
        "fake": lambda: fake(variables, x),
        "runner": lambda: runner.run(image),
        "integer": lambda: integer(variables, x),
    }
    turns = take_turns(contenders, repeat=repeat, clock=clock)
    times = [f"{median_ms(turns, n):.1f}" for n in contenders]
    ratios = [f"{median_ratio(turns, n, 'fake'):.2f}" for n in ("runner", "integer")]
    return [name, *times, *ratios, f"{compiling:.1f}", "yes" if equal else "NO"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(SUBJECTS), action="append", help="default: all")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    args = parser.parse_args()
    columns = ("model", "fake ms", "runner ms", "integer ms", "runner/fake", "integer/fake", "compile s", "equal")
    table = Table(*columns)
    for name in args.model or SUBJECTS:
        table.add_row(*compare(name, args.batch, args.repeat, args.clock))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

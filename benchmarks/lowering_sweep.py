"""Times every lowering of a convolution and its gradients over many shapes, next to what the rules choose.

    python benchmarks/lowering_sweep.py --family first_layers --repeat 9

``linger_jax/numerics/convolution/lowering_rules.py`` was written from this table. A row is one operator of one shape;
times are ratios to the stock operator (median over turns), the rule's choice is marked, and ``lost`` is what it loses
against the best. Rerun it after an update of jaxlib.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from timing import CLOCKS, median_ms, median_ratio, take_turns

from linger_jax.compat import explicit_padding
from linger_jax.numerics.convolution import convolution_lowerings as lowerings
from linger_jax.numerics.convolution.convolution_shape import ConvShape
from linger_jax.numerics.convolution.lowering_rules import (
    Lowering,
    forward_rule,
    input_gradient_rule,
    weight_gradient_rule,
)

OPERATORS = {
    "forward": (forward_rule, lowerings.FORWARD),
    "input gradient": (input_gradient_rule, lowerings.INPUT_GRADIENT),
    "weight gradient": (weight_gradient_rule, lowerings.WEIGHT_GRADIENT),
}


def same(
    batch: int, size: int, channels: tuple[int, int], taps: int, *, stride: int = 1, groups: int = 1, rank: int = 2
) -> ConvShape:
    """A convolution with padding SAME over ``rank`` axes of one size."""
    inputs, outputs = channels
    low, high = explicit_padding("SAME", [size], [taps], [stride])[0]
    return ConvShape(
        x=(batch, *(size,) * rank, inputs),
        w=(*(taps,) * rank, inputs // groups, outputs),
        strides=(stride,) * rank,
        padding=((low, high),) * rank,
        dilation=(1,) * rank,
        groups=groups,
    )


def first_layers() -> Iterator[ConvShape]:
    """Images and other inputs with few channels."""
    for channels in (1, 2, 3, 4, 5, 6):
        for outputs in (8, 16, 24, 32, 48, 64):
            yield same(64, 32, (channels, outputs), 3)
    for channels, outputs, taps, stride in (
        (1, 6, 5, 1),
        (1, 32, 5, 1),
        (3, 32, 5, 1),
        (3, 16, 7, 2),
        (3, 64, 7, 2),
        (3, 32, 3, 2),
        (3, 24, 4, 4),
    ):
        yield same(16, 64, (channels, outputs), taps, stride=stride)
    yield same(1, 64, (3, 32), 3)


def middle_layers() -> Iterator[ConvShape]:
    """Many channels in and out."""
    for batch, size, channels in (
        (64, 16, (32, 64)),
        (64, 8, (64, 64)),
        (16, 32, (32, 32)),
        (16, 8, (256, 256)),
        (1, 64, (32, 32)),
        (1, 16, (128, 128)),
    ):
        for taps in (3, 5):
            for stride in (1, 2):
                yield same(batch, size, channels, taps, stride=stride)
    for channels in ((7, 32), (15, 32), (17, 24), (33, 32), (33, 48), (9, 16), (20, 20), (64, 3), (32, 1), (32, 10)):
        yield same(64, 16, channels, 3)


def pointwise() -> Iterator[ConvShape]:
    """One tap."""
    for batch, size, channels in (
        (64, 32, (32, 64)),
        (64, 32, (16, 64)),
        (64, 16, (64, 64)),
        (64, 8, (256, 64)),
        (64, 8, (64, 256)),
        (1, 32, (128, 256)),
        (16, 8, (512, 128)),
        (64, 16, (3, 16)),
        (64, 16, (96, 24)),
    ):
        for stride in (1, 2):
            yield same(batch, size, channels, 1, stride=stride)


def depthwise() -> Iterator[ConvShape]:
    """One channel per group."""
    for batch, size, channels in ((64, 32, 32), (64, 16, 64), (64, 8, 128), (16, 16, 240), (1, 64, 32)):
        for taps in (3, 5, 7):
            for stride in (1, 2):
                yield same(batch, size, (channels, channels), taps, stride=stride, groups=channels)
    yield same(64, 128, (64, 64), 3, groups=64, rank=1)


def grouped() -> Iterator[ConvShape]:
    """Several channels per group."""
    for batch, size, channels, groups, taps in (
        (16, 16, (64, 64), 2, 3),
        (16, 16, (64, 64), 4, 3),
        (16, 16, (128, 128), 32, 3),
        (16, 8, (256, 256), 8, 3),
        (16, 16, (60, 60), 3, 1),
        (16, 16, (32, 64), 32, 3),
        (16, 16, (16, 64), 16, 3),
    ):
        yield same(batch, size, channels, taps, groups=groups)


def one_axis() -> Iterator[ConvShape]:
    """Signals: one space axis."""
    for batch, size, channels, taps, stride in (
        (64, 256, (1, 32), 9, 1),
        (64, 256, (1, 16), 9, 2),
        (64, 256, (16, 32), 5, 1),
        (64, 128, (64, 64), 3, 1),
        (64, 128, (40, 64), 5, 2),
        (64, 128, (64, 128), 1, 1),
        (16, 1024, (3, 16), 7, 1),
    ):
        yield same(batch, size, channels, taps, stride=stride, rank=1)


FAMILIES = {f.__name__: f for f in (first_layers, middle_layers, pointwise, depthwise, grouped, one_axis)}


def possible(shape: ConvShape) -> set[Lowering]:
    """The lowerings that compute this shape."""
    if shape.groups > 1:
        return {Lowering.STOCK, Lowering.GROUP_BLOCKS} | ({Lowering.DEPTHWISE} if shape.depthwise else set())
    chosen = {Lowering.STOCK}
    chosen |= {Lowering.POINTWISE} if shape.taps == 1 else set()
    chosen |= {Lowering.PATCHES} if shape.inputs <= 8 else set()
    return chosen | ({Lowering.EVEN_CHANNELS} if shape.inputs % 2 else set())


def measure(shape: ConvShape, operator: str, repeat: int, clock: str) -> dict[Lowering, tuple[float, float]]:
    """Milliseconds and ratio to stock of each lowering."""
    table = OPERATORS[operator][1]
    random = np.random.default_rng(0)
    x, w, g = (jnp.asarray(random.normal(size=size), jnp.float32) for size in (shape.x, shape.w, shape.output))
    operands = {"forward": (x, w), "input gradient": (w, g), "weight gradient": (x, g)}[operator]
    contenders = {
        lowering.value: functools.partial(jax.jit(functools.partial(table[lowering], shape)), *operands)
        for lowering in table
        if lowering in possible(shape)
    }
    if len(contenders) == 1:
        return {}
    turns = take_turns(contenders, repeat=repeat, clock=clock)
    return {Lowering(name): (median_ms(turns, name), median_ratio(turns, name, "stock")) for name in contenders}


def describe(shape: ConvShape) -> str:
    batch, *space, inputs = shape.x
    text = f"{batch} x {'x'.join(map(str, space))}  {inputs}->{shape.outputs}  k{shape.w[0]} s{shape.strides[0]}"
    return text if shape.groups == 1 else f"{text} g{shape.groups}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=FAMILIES, action="append", help="default: all")
    parser.add_argument("--operator", choices=OPERATORS, action="append", help="default: all")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    console = Console(width=150)
    for family in arguments.family or FAMILIES:
        table = Table("shape", "operator", "stock ms", "ratio to stock (* the rule's choice)", "lost", title=family)
        losses, gains = [], []
        for shape in FAMILIES[family]():
            for operator in arguments.operator or OPERATORS:
                times = measure(shape, operator, arguments.repeat, arguments.clock)
                if not times:
                    continue
                choice = OPERATORS[operator][0](shape)
                best = min(ratio for _, ratio in times.values())
                lost = times[choice][1] / best - 1
                losses.append(lost)
                gains.append(times[choice][1])
                marks = [f"{each.value} {ratio:.2f}{'*' * (each is choice)}" for each, (_, ratio) in times.items()]
                table.add_row(
                    describe(shape),
                    operator,
                    f"{times[Lowering.STOCK][0]:.2f}",
                    "  ".join(marks),
                    f"{lost:.0%}" if lost > 0.05 else "",
                )
        console.print(table)
        console.print(f"median ratio to stock {statistics.median(gains):.2f}, lost {statistics.median(losses):.0%}\n")


if __name__ == "__main__":
    main()

"""Times the chip's integer kernels against a float32 tanh of the same shape.

    python benchmarks/kernels.py --shape 32,8,128,128 --bits 8

A row is one kernel of one platform. ``kernel`` takes and gives int32, ``operator`` starts and ends with float32 on a
grid as a quantized operator does, ``lookup`` reads a table of 2^bits results that is made in the same program: exact
too, and here to show what the kernels are worth. Ratios are time over time of ``jnp.tanh``, medians over turns. Rerun
it after an update of jaxlib.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.console import Console
from rich.table import Table
from timing import CLOCKS, median_ms, median_ratio, take_turns

from linger_jax.config import Platform, RoundMode
from linger_jax.numerics import chip_kernels
from linger_jax.numerics.chip_kernels import fixed_point

BASE = "tanh"
EXPONENT = 4
"""Inputs are integers of some bits over 2^EXPONENT."""
PLATFORMS = (Platform.venus, Platform.arcs, Platform.venusA)

Kernel = Callable[[jax.Array], jax.Array]


class Contender:
    """One kernel of one platform with the Q-formats of its input and its result."""

    def __init__(self, name: str, platform: Platform, kernel: Kernel, input_bits: int, result_bits: int) -> None:
        self.name, self.platform, self.kernel = name, platform, kernel
        self.input_bits, self.result_bits = input_bits, result_bits

    def integers(self, steps: jax.Array) -> jax.Array:
        return self.kernel(lax.shift_left(steps, jnp.full_like(steps, self.input_bits - EXPONENT)))

    def operator(self, x: jax.Array) -> jax.Array:
        scale = np.float32(2**EXPONENT)
        fixed = fixed_point.steps_to_fixed_point(x, scale, self.input_bits, RoundMode.floor_add)
        result = self.kernel(chip_kernels.saturated_int32(fixed))
        return fixed_point.from_fixed_point(result, self.result_bits)

    def lookup(self, bits: int, steps: jax.Array) -> jax.Array:
        lowest = np.int32(-(2 ** (bits - 1)))
        results = self.integers(lax.iota(jnp.int32, 2**bits) + lowest)
        return results.at[steps - lowest].get(mode="promise_in_bounds")


def contenders(output_bits: int) -> Iterator[Contender]:
    for platform in PLATFORMS:
        result = chip_kernels.result_fraction_bits(platform, output_bits)
        for curve in (chip_kernels.sigmoid, chip_kernels.tanh):
            kernel = functools.partial(curve, platform=platform, fraction_bits=result)
            yield Contender(curve.__name__, platform, kernel, chip_kernels.input_fraction_bits(platform), result)
        softmax = functools.partial(chip_kernels.softmax, platform=platform)
        formats = chip_kernels.SOFTMAX_INPUT_FRACTION_BITS, chip_kernels.SOFTMAX_RESULT_FRACTION_BITS
        yield Contender("softmax", platform, softmax, *formats)
    for gated in (chip_kernels.gelu, chip_kernels.swish):
        both = chip_kernels.GATED_FRACTION_BITS
        kernel = functools.partial(gated, platform=Platform.venusA)
        yield Contender(gated.__name__, Platform.venusA, kernel, both, both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="32,8,128,128", help="softmax runs over the last axis")
    parser.add_argument("--bits", type=int, default=8, help="width of the input's integers")
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    shape = tuple(int(size) for size in arguments.shape.split(","))
    half = 2 ** (arguments.bits - 1)
    steps = jnp.asarray(np.random.default_rng(0).integers(-half, half, shape), jnp.int32)
    x = lax.convert_element_type(steps, jnp.float32) / np.float32(2**EXPONENT)

    runs: dict[str, Callable[[], jax.Array]] = {BASE: functools.partial(jax.jit(jnp.tanh), x)}
    runs["float softmax"] = functools.partial(jax.jit(jax.nn.softmax), x)
    chosen = list(contenders(arguments.bits))
    for c in chosen:
        runs[f"{c.name} {c.platform} kernel"] = functools.partial(jax.jit(c.integers), steps)
        runs[f"{c.name} {c.platform} operator"] = functools.partial(jax.jit(c.operator), x)
        if c.name != "softmax":
            lookup = functools.partial(c.lookup, arguments.bits)
            runs[f"{c.name} {c.platform} lookup"] = functools.partial(jax.jit(lookup), steps)
    turns = take_turns(runs, repeat=arguments.repeat, clock=arguments.clock)

    def ratio(name: str) -> str:
        return f"{median_ratio(turns, name, BASE):.1f}" if name in runs else "-"

    title = f"{arguments.bits}-bit inputs {shape} on {jax.devices()[0].device_kind}, time over that of float tanh"
    table = Table("kernel", "platform", "kernel ms", "Melements/s", "kernel", "operator", "lookup", title=title)
    for name, platform in [(BASE, "float"), ("float softmax", "float")]:
        table.add_row(name, platform, f"{median_ms(turns, name):.2f}", throughput(turns, name, x.size), ratio(name))
    for c in chosen:
        kernel, operator, lookup = (f"{c.name} {c.platform} {form}" for form in ("kernel", "operator", "lookup"))
        row = f"{median_ms(turns, kernel):.2f}", throughput(turns, kernel, x.size)
        table.add_row(c.name, str(c.platform), *row, ratio(kernel), ratio(operator), ratio(lookup))
    Console(width=110).print(table)


def throughput(turns: dict[str, list[float]], name: str, size: int) -> str:
    return f"{size / median_ms(turns, name) / 1e3:.0f}"


if __name__ == "__main__":
    main()

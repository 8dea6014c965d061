"""Exact integer products by float32 units: a bilinear operation in pieces whose sums stay below 2^24.

Float32 adds integers exactly while every partial sum stays within 2^24, in any order and with any fusing. Processors
are built for float products, so a product of integers is cut into pieces that keep this bound: along the contraction,
and, where operands are wider than eight bits, into base-256 digits. Pieces are added as integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from linger_jax.numerics import int64
from linger_jax.numerics.accumulator import Accumulator

EXACT = 2**24
"""Largest magnitude up to which float32 holds every integer."""
DIGIT_BITS = 8

Product = Callable[[jax.Array, jax.Array], jax.Array]
"""A bilinear float32 operation whose every result sums ``terms`` products."""
Cut = Callable[[jax.Array, int, int], jax.Array]
"""A slice of an operand along the contraction: from, to."""


def integer_product(
    product: Product,
    x: jax.Array,
    y: jax.Array | npt.NDArray[np.integer],
    *,
    x_bits: int,
    y_bits: int,
    terms: int,
    contracted: int,
    cut_x: Cut,
    cut_y: Cut,
    magnitude: npt.NDArray[np.int64] | None = None,
) -> Accumulator:
    """A bilinear operation on integers.

    Args:
      product: the operation on float32 operands; it must use full float32 precision.
      x: int32 operand within its bits.
      y: likewise; an array of the host may have any integer type.
      x_bits, y_bits: widths.
      terms: number of products in one sum.
      contracted: size of the axis that can be cut; each of its positions stands for ``terms / contracted`` products.
      cut_x, cut_y: a slice of each operand along that axis.
      magnitude: for a ``y`` that is known: for each position of the axis the largest sum over a result of ``|y|`` at
        that position. It saves pieces that the widths alone would ask for, and bounds the result.

    Returns:
      Exact where it fits in 64 bits.
    """
    bound = largest_sum(x_bits, y_bits, terms, magnitude)
    with int64.region():
        total: jax.Array | None = None
        wide_y = y_bits > DIGIT_BITS
        for x_digit, x_shift, x_most in _digits(x, x_bits):
            for y_digit, y_shift, y_most in _digits(jnp.asarray(y).astype(jnp.int32), y_bits):
                per_position = y_most * (terms // contracted)
                most = (
                    np.full(contracted, per_position) if magnitude is None or wide_y else magnitude.astype(np.int64)
                ) * x_most
                for start, stop in _pieces(most):
                    part = product(
                        cut_x(x_digit, start, stop).astype(jnp.float32), cut_y(y_digit, start, stop).astype(jnp.float32)
                    )
                    summand = Accumulator.of(part, bound).value
                    # Sums of digits may pass 32 bits on their way to a result that does not: integers wrap and return.
                    summand = summand << summand.dtype.type(x_shift + y_shift) if x_shift + y_shift else summand
                    total = summand if total is None else total + summand
        assert total is not None
        return Accumulator(total, bound)


def largest_sum(x_bits: int, y_bits: int, terms: int, magnitude: npt.NDArray[np.int64] | None = None) -> int:
    """Largest magnitude of a sum of products; arguments as in ``integer_product``."""
    of_y = 2 ** (y_bits - 1) * terms if magnitude is None else int(magnitude.sum())
    return 2 ** (x_bits - 1) * of_y


def _digits(v: jax.Array, bits: int) -> Iterator[tuple[jax.Array, int, int]]:
    """Digits of ``v``, their shifts and their largest magnitudes; the highest one has the sign."""
    shift = 0
    while bits - shift > DIGIT_BITS:
        yield (v >> jnp.int32(shift)) & jnp.int32(2**DIGIT_BITS - 1), shift, 2**DIGIT_BITS - 1
        shift += DIGIT_BITS
    yield v >> jnp.int32(shift), shift, 2 ** (bits - shift - 1)


def _pieces(most: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of positions whose magnitudes add up to what float32 holds exactly."""
    start, total = 0, 0
    for position, size in enumerate(most.tolist()):
        if position > start and total + size > EXACT:
            yield start, position
            start, total = position, 0
        total += size
    yield start, len(most)

"""What is known of a convolution before it runs: everything a choice of lowering may look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import jax.numpy as jnp
from jax import lax

from linger_jax.compat import explicit_padding
from linger_jax.numerics.pooling import Windows


@dataclass(frozen=True, kw_only=True)
class ConvShape:
    """A float32 convolution with channels last: x [N, *space, C_in], w [*taps, C_in / groups, C_out].

    Invariant: strides, padding and dilation have one entry per space axis; no axis is empty, padding is not negative,
    the input is not dilated.
    """

    x: tuple[int, ...]
    w: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    precision: lax.PrecisionLike = None

    @classmethod
    def of(
        cls,
        x: jax.Array,
        w: jax.Array,
        *,
        window_strides: Sequence[int],
        padding: str | Sequence[tuple[int, int]],
        lhs_dilation: Sequence[int] | None,
        rhs_dilation: Sequence[int] | None,
        dimension_numbers: lax.ConvGeneralDilatedDimensionNumbers,
        feature_group_count: int,
        batch_group_count: int,
        precision: lax.PrecisionLike,
        preferred_element_type: jax.typing.DTypeLike | None,
    ) -> ConvShape | None:
        """The shape of a convolution given by ``lax.conv_general_dilated``'s arguments; None if it has another form."""
        result = None if preferred_element_type is None else jnp.dtype(preferred_element_type)
        if (
            x.dtype != jnp.float32
            or w.dtype != jnp.float32
            or result not in (None, jnp.dtype(jnp.float32))
            or batch_group_count != 1
            or any(step != 1 for step in lhs_dilation or ())
            or lax.conv_dimension_numbers(x.shape, w.shape, dimension_numbers) != channels_last(x.ndim)
        ):
            return None
        strides = tuple(window_strides)
        dilation = tuple(rhs_dilation or (1,) * len(strides))
        if isinstance(padding, str):
            reach = [(taps - 1) * step + 1 for taps, step in zip(w.shape[:-2], dilation, strict=True)]
            padding = explicit_padding(padding, x.shape[1:-1], reach, strides)
        shape = cls(
            x=x.shape,
            w=w.shape,
            strides=strides,
            padding=tuple((low, high) for low, high in padding),
            dilation=dilation,
            groups=feature_group_count,
            precision=precision,
        )
        empty = min((*shape.x, *shape.w, *shape.output)) <= 0
        return None if empty or shape.windows.cropped else shape

    @property
    def taps(self) -> int:
        """Elements of the kernel's window."""
        return math.prod(self.w[:-2])

    @property
    def inputs(self) -> int:
        """Input channels."""
        return self.x[-1]

    @property
    def outputs(self) -> int:
        """Output channels."""
        return self.w[-1]

    @property
    def depthwise(self) -> bool:
        """Whether each channel is convolved alone, into one output channel."""
        return self.groups == self.inputs == self.outputs > 1

    @property
    def overhangs(self) -> bool:
        """Whether some windows lie wholly in the padding."""
        axes = zip(self.padding, self.w[:-2], self.dilation, strict=True)
        return any(max(pads) > (taps - 1) * step for pads, taps, step in axes)

    @cached_property
    def windows(self) -> Windows:
        """The kernel's windows on x, all axes."""
        return Windows(
            dimensions=(1, *self.w[:-2], 1),
            strides=(1, *self.strides, 1),
            padding=((0, 0), *self.padding, (0, 0)),
            dilation=(1, *self.dilation, 1),
        )

    @property
    def output(self) -> tuple[int, ...]:
        """Shape of the result, [N, *space, C_out]."""
        return (*self.windows.output_shape(self.x)[:-1], self.outputs)

    def with_channels(self, inputs: int, outputs: int) -> ConvShape:
        """The same convolution, ungrouped, with these channel counts."""
        return replace(self, x=(*self.x[:-1], inputs), w=(*self.w[:-2], inputs, outputs), groups=1)

    def without_padding(self) -> ConvShape:
        """The same convolution of an input that has its padding."""
        pads = ((0, 0), *self.padding, (0, 0))
        padded = tuple(size + low + high for size, (low, high) in zip(self.x, pads, strict=True))
        return replace(self, x=padded, padding=((0, 0),) * len(self.padding))

    def stock(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """The stock operator."""
        return lax.conv_general_dilated(
            x,
            w,
            self.strides,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=channels_last(x.ndim),
            feature_group_count=self.groups,
            precision=self.precision,
        )


def channels_last(rank: int) -> lax.ConvDimensionNumbers:
    """[N, *space, C] for input and output, [*taps, C_in, C_out] for the kernel; Flax's layout."""
    features = (0, rank - 1, *range(1, rank - 1))
    return lax.ConvDimensionNumbers(features, (rank - 1, rank - 2, *range(rank - 2)), features)

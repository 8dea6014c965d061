"""ConvTranspose with PyTorch's arguments: padding that cuts the output, output_padding and groups, which Flax lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from linger_jax.errors import LingerError

Array = jax.Array
EachAxis = int | Sequence[int]


class ConvTranspose(nn.Module):
    """Transposed convolution over one or two axes, channels last.

    What differs from ``nn.ConvTranspose``: ``padding`` is PyTorch's, a number an axis that is *cut* from both ends of
    the full result, instead of a padding of the stretched input; ``output_padding`` and ``feature_group_count`` exist.
    The result of an axis has ``(n - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1`` entries.

    Parameters as in Flax: ``kernel`` [window..., in/groups, features], ``bias`` [features]. The kernel is a correlation
    kernel: PyTorch's weight [in, features/groups, window...] with its window mirrored.

    Attributes:
      features: output channels.
      kernel_size: window, one number an axis; one number is one axis.
      strides, padding, output_padding, kernel_dilation: one number, or one an axis.
      feature_group_count: groups; divides the channels of input and output.
      use_bias: whether a bias is added.
      kernel_init, bias_init: initializers.
    """

    features: int
    kernel_size: EachAxis
    strides: EachAxis = 1
    padding: EachAxis = 0
    output_padding: EachAxis = 0
    kernel_dilation: EachAxis = 1
    feature_group_count: int = 1
    use_bias: bool = True
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Any] = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Array, *, output_size: Sequence[int] | None = None) -> Array:
        """Applies the layer.

        Args:
          x: float32, [N, plane..., in]; without N, or with several batch axes, too.
          output_size: refused; linger accepts and ignores it (docs/specification/layers.md section 3).

        Returns:
          float32, [N, plane..., features].

        Raises:
          LingerError: arguments that do not fit together, or an ``output_size``.
        """
        if output_size is not None:
            raise LingerError(
                f"ConvTranspose {self.name or '<root>'}: output_size={output_size!r} is not supported; "
                "choose the size with output_padding (0 to stride - 1 further elements an axis)"
            )
        window = (self.kernel_size,) if isinstance(self.kernel_size, int) else tuple(self.kernel_size)
        strides, padding, extra, dilation = (
            self._each_axis(name, len(window)) for name in ("strides", "padding", "output_padding", "kernel_dilation")
        )
        self._check(x, strides, extra, dilation)
        channels = x.shape[-1] // self.feature_group_count
        kernel = self.param("kernel", self.kernel_init, (*window, channels, self.features), jnp.float32)
        plane = x.shape[-len(window) - 1 :]
        ends = [d * (k - 1) - p for k, d, p in zip(window, dilation, padding, strict=True)]
        outside = (0, len(window) + 1)
        y = lax.conv_general_dilated(
            x.reshape(-1, *plane),
            kernel,
            window_strides=(1,) * len(window),
            padding=[(end, end + e) for end, e in zip(ends, extra, strict=True)],
            lhs_dilation=strides,
            rhs_dilation=dilation,
            dimension_numbers=lax.ConvDimensionNumbers(
                (outside[0], outside[1], *range(1, outside[1])),
                (outside[1], outside[1] - 1, *range(outside[1] - 1)),
                (outside[0], outside[1], *range(1, outside[1])),
            ),
            feature_group_count=self.feature_group_count,
        )
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            y = y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)
        return y.reshape(*x.shape[: x.ndim - len(plane)], *y.shape[1:])

    def _each_axis(self, name: str, axes: int) -> tuple[int, ...]:
        value = getattr(self, name)
        if isinstance(value, int):
            return (value,) * axes
        if isinstance(value, str) or len(value) != axes or not all(isinstance(v, int) for v in value):
            raise LingerError(
                f"ConvTranspose: {name}={value!r} is neither a number nor one number for each of {axes} axes; "
                "for 'SAME', 'VALID' or different numbers at both ends use flax.linen.ConvTranspose"
            )
        return tuple(value)

    def _check(self, x: Array, strides: tuple[int, ...], extra: tuple[int, ...], dilation: tuple[int, ...]) -> None:
        groups = self.feature_group_count
        if x.shape[-1] % groups or self.features % groups:
            raise LingerError(
                f"ConvTranspose: feature_group_count {groups} does not divide "
                f"{x.shape[-1]} input and {self.features} output channels"
            )
        for e, s, d in zip(extra, strides, dilation, strict=True):
            if not 0 <= e < max(s, d):
                raise LingerError(
                    f"ConvTranspose: output_padding {e} must be smaller than the stride {s} or the kernel_dilation {d}"
                )

"""How a kernel lies in PyTorch's memory: the order in which the reference adds it up."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from linger_jax.kinds import KernelOrder


@dataclasses.dataclass(frozen=True)
class FileLayout:
    """Axes of a Flax kernel in the order of the reference's tensor.

    Attributes:
      axes: for each axis of the reference's tensor, the axis of the kernel.
      mirrored: axes of the kernel that run backwards in the reference's tensor.
      groups: of a transposed convolution: the reference's tensor holds the input channels of one group after those of
        another, where the kernel holds the output channels of one group after those of another.
    """

    axes: tuple[int, ...]
    mirrored: tuple[int, ...] = ()
    groups: int = 1

    def to_file(self, kernel: jax.Array) -> jax.Array:
        """The kernel in the reference's layout."""
        weight = jnp.transpose(jnp.flip(kernel, self.mirrored), self.axes)
        if self.groups == 1:
            return weight
        inside, outside, *window = weight.shape
        split = weight.reshape(inside, self.groups, outside // self.groups, *window)
        return jnp.moveaxis(split, 1, 0).reshape(inside * self.groups, outside // self.groups, *window)

    def from_file(self, weight: jax.Array) -> jax.Array:
        """The inverse of ``to_file``."""
        if self.groups != 1:
            inside, outside, *window = weight.shape
            split = weight.reshape(self.groups, inside // self.groups, outside, *window)
            weight = jnp.moveaxis(split, 0, 1).reshape(inside // self.groups, outside * self.groups, *window)
        inverse = tuple(self.axes.index(axis) for axis in range(len(self.axes)))
        return jnp.flip(jnp.transpose(weight, inverse), self.mirrored)


def file_layout(order: KernelOrder, rank: int, groups: int = 1) -> FileLayout | None:
    """Layout of a kernel of some rank; None where the reference has no such tensor.

    Dense [in, out] is [out, in] there, Conv [k..., in/groups, out] is [out, in/groups, k...], ConvTranspose
    [k..., in/groups, out] is [in, out/groups, k...] with its window mirrored, since ``lax`` correlates where PyTorch
    convolves.
    """
    window = tuple(range(rank - 2))
    match order:
        case KernelOrder.matrix:
            return FileLayout((1, 0)) if rank == 2 else None
        case KernelOrder.convolution:
            return FileLayout((rank - 1, rank - 2, *window))
        case KernelOrder.transposed_convolution:
            return FileLayout((rank - 2, rank - 1, *window), mirrored=window, groups=groups)

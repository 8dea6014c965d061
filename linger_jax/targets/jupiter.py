"""What is known of jupiter: a name of linger's configuration, with neither kernels nor a packer."""

from __future__ import annotations

from linger_jax.targets.target import PoolDivision, Target, WindowLimits

JUPITER = Target(
    windows=WindowLimits(kernel=None, strides=(1, 2, 4), padding=None),
    pool_division=PoolDivision.float_division,
    fixes_scale_of_sigmoid=True,
    kernels=None,
    device=None,
)

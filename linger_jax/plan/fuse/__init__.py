"""Layers that are computed together, as ``trace_layers`` finds them."""

from linger_jax.plan.fuse.fusion import NOTHING_FUSED as NOTHING_FUSED
from linger_jax.plan.fuse.fusion import FusedPair as FusedPair
from linger_jax.plan.fuse.fusion import Fusion as Fusion
from linger_jax.plan.fuse.fusion import fuse as fuse
from linger_jax.plan.fuse.fusion import remark_of as remark_of
from linger_jax.plan.fuse.fusion_search import find_fusion as find_fusion

"""Convolutions computed together with the normalization behind them."""

from linger_jax.api.fusion.checkpoint_adapter import CheckpointAdapter as CheckpointAdapter
from linger_jax.api.fusion.fused_model import FusedModel as FusedModel
from linger_jax.api.fusion.trace_layers import require_unbound as require_unbound
from linger_jax.api.fusion.trace_layers import trace_layers as trace_layers

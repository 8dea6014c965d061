"""Staging: an unmodified Flax model becomes a jaxpr whose layers are single marker equations."""

from linger_jax.staging.call_arguments import Call as Call
from linger_jax.staging.call_arguments import split_call as split_call
from linger_jax.staging.folded_norms import NOTHING_FOLDED as NOTHING_FOLDED
from linger_jax.staging.folded_norms import FoldedNorms as FoldedNorms
from linger_jax.staging.layer_kinds import LAYERS as LAYERS
from linger_jax.staging.layer_kinds import MOST_SPATIAL_AXES as MOST_SPATIAL_AXES
from linger_jax.staging.marker import LayerInfo as LayerInfo
from linger_jax.staging.marker import layer_p as layer_p
from linger_jax.staging.marker import lost_p as lost_p
from linger_jax.staging.marker import scope_p as scope_p
from linger_jax.staging.real_inputs import narrowed as narrowed
from linger_jax.staging.recurrent_calls import LENGTHS as LENGTHS
from linger_jax.staging.recurrent_calls import RECURRENT_LAYERS as RECURRENT_LAYERS
from linger_jax.staging.stage import Staged as Staged
from linger_jax.staging.stage import stage as stage
from linger_jax.staging.stage import variable_paths as variable_paths
from linger_jax.typing import Path as Path

"""Rules of quantized and of constrained layers, one file a kind: importing the package registers them."""

from linger_jax.interpret.layers import average_pool as average_pool
from linger_jax.interpret.layers import batch_norm as batch_norm
from linger_jax.interpret.layers import constrained_layers as constrained_layers
from linger_jax.interpret.layers import constrained_recurrent as constrained_recurrent
from linger_jax.interpret.layers import embed as embed
from linger_jax.interpret.layers import fused_layers as fused_layers
from linger_jax.interpret.layers import gated_linear_unit as gated_linear_unit
from linger_jax.interpret.layers import layer_norm as layer_norm
from linger_jax.interpret.layers import recurrent_layers as recurrent_layers
from linger_jax.interpret.layers import sparify_ffn as sparify_ffn
from linger_jax.interpret.layers import weighted_layers as weighted_layers

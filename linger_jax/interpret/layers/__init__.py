"""Quantized layer rules, one file a kind."""

from collections.abc import Mapping

from linger_jax.interpret.interpreter import InterpreterRule
from linger_jax.interpret.layers.average_pool import average_pool
from linger_jax.interpret.layers.batch_norm import batch_norm
from linger_jax.interpret.layers.constrained_layers import CONSTRAINED as CONSTRAINED
from linger_jax.interpret.layers.embed import embed
from linger_jax.interpret.layers.fused_layers import fused as fused
from linger_jax.interpret.layers.gated_linear_unit import glu
from linger_jax.interpret.layers.layer_norm import layer_norm
from linger_jax.interpret.layers.recurrent_layers import recurrent
from linger_jax.interpret.layers.sparify_ffn import sparify_ffn
from linger_jax.interpret.layers.weighted_layers import weighted
from linger_jax.interpret.moves import passes_through

LAYERS: Mapping[str, InterpreterRule] = {
    "dense": weighted,
    "conv": weighted,
    "conv_transpose": weighted,
    "einsum": weighted,
    "custom_linear": weighted,
    "custom_conv": weighted,
    "batch_norm": batch_norm,
    "embed": embed,
    "dropout": passes_through,
    "avg_pool": average_pool,
    "layer_norm": layer_norm,
    "glu": glu,
    "lstm": recurrent,
    "gru": recurrent,
    "sparify_ffn": sparify_ffn,
}

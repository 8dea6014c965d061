"""Deciding for each node: quantized, passing a scale on, or float and why."""

from linger_jax.plan.decide.concat_ties import tie_concatenations as tie_concatenations
from linger_jax.plan.decide.decisions import Decisions as Decisions
from linger_jax.plan.decide.plan_graph import plan_graph as plan_graph
from linger_jax.plan.decide.plan_layers import CONSTRAINED_LAYERS as CONSTRAINED_LAYERS
from linger_jax.plan.decide.plan_layers import LAYER_ROLES as LAYER_ROLES
from linger_jax.plan.decide.plan_norms import replaced_epsilons as replaced_epsilons
from linger_jax.plan.decide.recurrent_parameters import WEIGHTS as WEIGHTS
from linger_jax.plan.decide.recurrent_parameters import weight_pieces as weight_pieces
from linger_jax.plan.decide.recurrent_quantizers import quantizer_name as quantizer_name

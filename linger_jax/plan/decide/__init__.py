"""Deciding for each node: quantized, passing a scale on, or float and why."""

from linger_jax.plan.decide import plan_glu as plan_glu
from linger_jax.plan.decide import plan_pools as plan_pools
from linger_jax.plan.decide import plan_recurrent as plan_recurrent
from linger_jax.plan.decide.concat_ties import tie_concatenations as tie_concatenations
from linger_jax.plan.decide.decisions import Decisions as Decisions
from linger_jax.plan.decide.plan_graph import plan_graph as plan_graph
from linger_jax.plan.decide.plan_layers import decides as decides
from linger_jax.plan.decide.plan_norms import replaced_epsilons as replaced_epsilons
from linger_jax.plan.decide.recurrent_parameters import WEIGHTS as WEIGHTS
from linger_jax.plan.decide.recurrent_parameters import weight_pieces as weight_pieces
from linger_jax.plan.decide.recurrent_quantizers import quantizer_name as quantizer_name

"""Interpreting a plan: float, constrained, calibrating, training or evaluating."""

from linger_jax.interpret.context import Context as Context
from linger_jax.interpret.context import Mode as Mode
from linger_jax.interpret.context import State as State
from linger_jax.interpret.context import plain as plain
from linger_jax.interpret.interpreter import constrains as constrains
from linger_jax.interpret.interpreter import interprets as interprets
from linger_jax.interpret.parameter_clamps import clamp_parameters as clamp_parameters
from linger_jax.interpret.recording import Key as Key
from linger_jax.interpret.recording import Place as Place
from linger_jax.interpret.recording import Recording as Recording
from linger_jax.interpret.recording import fixed_values as fixed_values
from linger_jax.interpret.recording import place_of as place_of
from linger_jax.interpret.rule_table import interpret as interpret
from linger_jax.interpret.rule_table import rule_of as rule_of
from linger_jax.interpret.tied_scales import begin_region as begin_region

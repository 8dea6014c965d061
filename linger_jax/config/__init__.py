"""Configuration: closed sets of values, frozen typed models, YAML in and out."""

from linger_jax.config.enums import ActivationType as ActivationType
from linger_jax.config.enums import Compat as Compat
from linger_jax.config.enums import Lowering as Lowering
from linger_jax.config.enums import Platform as Platform
from linger_jax.config.enums import QatMethod as QatMethod
from linger_jax.config.enums import QuantMethod as QuantMethod
from linger_jax.config.enums import RoundMode as RoundMode
from linger_jax.config.enums import Strategy as Strategy

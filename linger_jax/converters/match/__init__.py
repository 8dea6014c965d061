"""Which tensor of a checkpoint goes into which variable of a model."""

from linger_jax.converters.match.matching import How as How
from linger_jax.converters.match.matching import Matching as Matching
from linger_jax.converters.match.matching import MatchMode as MatchMode
from linger_jax.converters.match.matching import match as match
from linger_jax.converters.match.place_matching import PlacePair as PlacePair
from linger_jax.converters.match.place_matching import match_places as match_places
from linger_jax.converters.match.torch_names import Naming as Naming
from linger_jax.converters.match.torch_names import TorchNames as TorchNames
from linger_jax.converters.match.user_mapping import GivenNames as GivenNames
from linger_jax.converters.match.user_mapping import names_in_file as names_in_file
from linger_jax.converters.match.user_mapping import read_names as read_names
from linger_jax.converters.match.variable_filling import Conversion as Conversion
from linger_jax.converters.match.variable_filling import conversions as conversions
from linger_jax.converters.match.variable_filling import fill as fill
from linger_jax.converters.match.variable_filling import row_of as row_of

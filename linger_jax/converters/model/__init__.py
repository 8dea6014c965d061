"""What a model has room for: its layers, variables and places of quantizers."""

from linger_jax.converters.model.free_variables import fits as fits
from linger_jax.converters.model.free_variables import free_conversion as free_conversion
from linger_jax.converters.model.model_call import ModelCall as ModelCall
from linger_jax.converters.model.model_inventory import ModelInventory as ModelInventory
from linger_jax.converters.model.model_inventory import ModelLayer as ModelLayer
from linger_jax.converters.model.model_inventory import model_inventory as model_inventory
from linger_jax.converters.model.quantizer_places import MADE_UP as MADE_UP
from linger_jax.converters.model.quantizer_places import QuantizerPlace as QuantizerPlace
from linger_jax.converters.model.quantizer_places import quantizer_places as quantizer_places
from linger_jax.converters.model.scale_flow import entering_places as entering_places

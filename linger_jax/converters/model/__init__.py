"""What a model has room for: its layers, variables and places of quantizers."""

from linger_jax.converters.model.free_variables import fits as fits
from linger_jax.converters.model.free_variables import free_conversion as free_conversion
from linger_jax.converters.model.model_call import ModelCall as ModelCall
from linger_jax.converters.model.model_variables import LayerSlot as LayerSlot
from linger_jax.converters.model.model_variables import ModelSlots as ModelSlots
from linger_jax.converters.model.model_variables import model_slots as model_slots
from linger_jax.converters.model.quantizer_places import MADE_UP as MADE_UP
from linger_jax.converters.model.quantizer_places import QuantizerSite as QuantizerSite
from linger_jax.converters.model.quantizer_places import quantizer_sites as quantizer_sites
from linger_jax.converters.model.scale_flow import entering_places as entering_places

"""The public face: converting a model, and the model that comes out."""

from linger_jax.api.calibration import calibrate as calibrate
from linger_jax.api.calibration import calibration as calibration
from linger_jax.api.conversion import constrain as constrain
from linger_jax.api.conversion import init as init
from linger_jax.api.fusion.checkpoint_adapter import CheckpointAdapter as CheckpointAdapter
from linger_jax.api.fusion.fused_model import FusedModel as FusedModel
from linger_jax.api.fusion.trace_layers import trace_layers as trace_layers
from linger_jax.api.quant_collection import parameter_labels as parameter_labels
from linger_jax.api.quantized_model import QuantizedModel as QuantizedModel
from linger_jax.api.scales import scales as scales
from linger_jax.api.supported import Supported as Supported
from linger_jax.api.supported import supported as supported

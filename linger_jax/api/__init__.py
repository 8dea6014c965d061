"""The public face: converting a model, and the model that comes out."""

from linger_jax.api.analysis import Analysis as Analysis
from linger_jax.api.analysis import analyse as analyse
from linger_jax.api.calibration import calibrate as calibrate
from linger_jax.api.calibration import calibration as calibration
from linger_jax.api.conversion import constrain as constrain
from linger_jax.api.conversion import init as init
from linger_jax.api.device import Supported as Supported
from linger_jax.api.device import supported as supported
from linger_jax.api.folding import fold_variables as fold_variables
from linger_jax.api.fusion import CheckpointAdapter as CheckpointAdapter
from linger_jax.api.fusion import FusedModel as FusedModel
from linger_jax.api.fusion import trace_layers as trace_layers
from linger_jax.api.quant_collection import QUANT as QUANT
from linger_jax.api.quant_collection import copied as copied
from linger_jax.api.quant_collection import float_collections as float_collections
from linger_jax.api.quant_collection import gather as gather
from linger_jax.api.quant_collection import get_in as get_in
from linger_jax.api.quant_collection import initial as initial
from linger_jax.api.quant_collection import parameter_labels as parameter_labels
from linger_jax.api.quant_collection import scales as scales
from linger_jax.api.quant_collection import set_in as set_in
from linger_jax.api.quant_collection import threshold_path as threshold_path
from linger_jax.api.quantized_model import QuantizedModel as QuantizedModel
from linger_jax.api.remarks import warn_of_cut_biases as warn_of_cut_biases

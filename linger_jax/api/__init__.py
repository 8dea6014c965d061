"""The public face: converting a model, and the model that comes out."""

from linger_jax.api.calibration import calibrate as calibrate
from linger_jax.api.calibration import calibration as calibration
from linger_jax.api.conversion import constrain as constrain
from linger_jax.api.conversion import init as init
from linger_jax.api.model import QuantizedModel as QuantizedModel
from linger_jax.api.state import parameter_labels as parameter_labels

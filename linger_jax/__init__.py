"""Quantization-aware training for JAX/Flax, from a pretrained PyTorch checkpoint to a file a chip runs."""

from linger_jax.api import CheckpointAdapter as CheckpointAdapter
from linger_jax.api import FusedModel as FusedModel
from linger_jax.api import QuantizedModel as QuantizedModel
from linger_jax.api import calibrate as calibrate
from linger_jax.api import calibration as calibration
from linger_jax.api import constrain as constrain
from linger_jax.api import init as init
from linger_jax.api import parameter_labels as parameter_labels
from linger_jax.api import scales as scales
from linger_jax.api import supported as supported
from linger_jax.api import trace_layers as trace_layers
from linger_jax.config import QuantConfig as QuantConfig
from linger_jax.config import config_save_to_yaml as config_save_to_yaml
from linger_jax.config import load_config as load_config
from linger_jax.errors import LingerError as LingerError
from linger_jax.errors import LingerWarning as LingerWarning
from linger_jax.export import OnnxRunner as OnnxRunner
from linger_jax.export import export_onnx as export_onnx
from linger_jax.quantizers import QTensor as QTensor
from linger_jax.quantizers import abs_max as abs_max
from linger_jax.quantizers import from_qtensor_to_tensor as from_qtensor_to_tensor
from linger_jax.quantizers import from_tensor_to_qtensor as from_tensor_to_qtensor
from linger_jax.quantizers import register_calibrate_method as register_calibrate_method
from linger_jax.quantizers import top_10 as top_10
from linger_jax.quantizers import w_like as w_like

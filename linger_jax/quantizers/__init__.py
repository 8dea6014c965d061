"""Fake quantizers as pure functions: MOM and TQT scales, biases, calibration, the quantized tensor."""

from linger_jax.quantizers.calibrate import calibrate as calibrate
from linger_jax.quantizers.calibrate import has_non_finite as has_non_finite
from linger_jax.quantizers.calibration_methods import CalibrationResult as CalibrationResult
from linger_jax.quantizers.calibration_methods import abs_max as abs_max
from linger_jax.quantizers.calibration_methods import calibrate_methods as calibrate_methods
from linger_jax.quantizers.calibration_methods import register_calibrate_method as register_calibrate_method
from linger_jax.quantizers.calibration_methods import top_10 as top_10
from linger_jax.quantizers.calibration_methods import w_like as w_like
from linger_jax.quantizers.qtensor import QTensor as QTensor
from linger_jax.quantizers.qtensor import from_qtensor_to_tensor as from_qtensor_to_tensor
from linger_jax.quantizers.qtensor import from_tensor_to_qtensor as from_tensor_to_qtensor
from linger_jax.quantizers.quantize import gradient_mask as gradient_mask
from linger_jax.quantizers.quantize import quantize as quantize
from linger_jax.quantizers.quantize import rescale as rescale
from linger_jax.quantizers.quantizer_spec import QuantizerKind as QuantizerKind
from linger_jax.quantizers.quantizer_spec import QuantizerSpec as QuantizerSpec
from linger_jax.quantizers.quantizer_state import THRESHOLD as THRESHOLD
from linger_jax.quantizers.quantizer_state import State as State
from linger_jax.quantizers.quantizer_state import converted_state as converted_state
from linger_jax.quantizers.quantizer_state import initial_state as initial_state
from linger_jax.quantizers.ste_clip import ste_clip as ste_clip
from linger_jax.quantizers.weight_clamp import clamp_bound as clamp_bound
from linger_jax.quantizers.weight_clamp import clamp_parameter as clamp_parameter
from linger_jax.quantizers.weight_clamp import clamp_weight_once as clamp_weight_once

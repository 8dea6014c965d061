"""What chips can run, and what one makes of a model."""

from linger_jax.api.device.device_check import refuse_for_device as refuse_for_device
from linger_jax.api.device.device_check import verdict_on as verdict_on
from linger_jax.api.device.supported import Supported as Supported
from linger_jax.api.device.supported import supported as supported

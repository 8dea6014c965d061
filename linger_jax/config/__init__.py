"""Configuration: closed sets of values, frozen typed models, YAML in and out."""

from linger_jax.config.enums import ActivationType as ActivationType
from linger_jax.config.enums import Arithmetic as Arithmetic
from linger_jax.config.enums import CalibrateExponent as CalibrateExponent
from linger_jax.config.enums import Compat as Compat
from linger_jax.config.enums import GruForm as GruForm
from linger_jax.config.enums import Lowering as Lowering
from linger_jax.config.enums import QatMethod as QatMethod
from linger_jax.config.enums import QuantMethod as QuantMethod
from linger_jax.config.enums import RoundMode as RoundMode
from linger_jax.config.enums import Strategy as Strategy
from linger_jax.config.jax_platform import check_device as check_device
from linger_jax.config.layer_config import LayerConfig as LayerConfig
from linger_jax.config.load import ConfigSource as ConfigSource
from linger_jax.config.load import load_config as load_config
from linger_jax.config.quant_config import QuantConfig as QuantConfig
from linger_jax.config.save import config_save_to_yaml as config_save_to_yaml
from linger_jax.config.save import config_to_mapping as config_to_mapping
from linger_jax.config.sections import ClampInfo as ClampInfo
from linger_jax.config.sections import Part as Part
from linger_jax.config.sections import PartClampInfo as PartClampInfo
from linger_jax.config.sections import PartQuantInfo as PartQuantInfo
from linger_jax.config.sections import QuantInfo as QuantInfo
from linger_jax.targets import Platform as Platform

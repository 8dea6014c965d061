"""Quantization-aware training for JAX/Flax, from a pretrained PyTorch checkpoint to a file a chip runs."""

from linger_jax import converters, nn
from linger_jax.api import (
    Analysis,
    CheckpointAdapter,
    FusedModel,
    QuantizedModel,
    Supported,
    analyse,
    calibrate,
    calibration,
    constrain,
    init,
    parameter_labels,
    scales,
    supported,
    trace_layers,
)
from linger_jax.config import (
    ClampInfo,
    Platform,
    QuantConfig,
    QuantInfo,
    config_save_to_yaml,
    load_config,
)
from linger_jax.errors import (
    CalibrationError,
    ConfigError,
    ConfigProblem,
    ConversionError,
    DeviceLintError,
    ExportError,
    FileError,
    LingerError,
    LingerWarning,
    PackError,
    PlanError,
    PlatformLimitError,
    StateError,
    UnsupportedError,
)
from linger_jax.export import (
    DeviceReport,
    OnnxRunner,
    PackReport,
    check_onnx,
    export_onnx,
    pack,
)
from linger_jax.plan import (
    Plan,
)
from linger_jax.quantizers import (
    CalibrationResult,
    QTensor,
    abs_max,
    from_qtensor_to_tensor,
    from_tensor_to_qtensor,
    register_calibrate_method,
    top_10,
    w_like,
)

__version__ = "0.1.0"

__all__ = [
    "Analysis",
    "CalibrationError",
    "CalibrationResult",
    "CheckpointAdapter",
    "ClampInfo",
    "ConfigError",
    "ConfigProblem",
    "ConversionError",
    "DeviceLintError",
    "DeviceReport",
    "ExportError",
    "FileError",
    "FusedModel",
    "LingerError",
    "LingerWarning",
    "OnnxRunner",
    "PackError",
    "PackReport",
    "Plan",
    "PlanError",
    "Platform",
    "PlatformLimitError",
    "QTensor",
    "QuantConfig",
    "QuantInfo",
    "QuantizedModel",
    "StateError",
    "Supported",
    "UnsupportedError",
    "__version__",
    "abs_max",
    "analyse",
    "calibrate",
    "calibration",
    "check_onnx",
    "config_save_to_yaml",
    "constrain",
    "converters",
    "export_onnx",
    "from_qtensor_to_tensor",
    "from_tensor_to_qtensor",
    "init",
    "load_config",
    "nn",
    "pack",
    "parameter_labels",
    "register_calibrate_method",
    "scales",
    "supported",
    "top_10",
    "trace_layers",
    "w_like",
]


def __dir__() -> list[str]:
    """The public names; the rooms behind them may change without notice."""
    return list(__all__)

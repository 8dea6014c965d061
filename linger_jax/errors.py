"""The exception and warning family of linger_jax.

Every message says what is wrong, where (module path, or file, line and key), what is allowed and what to do.
"""

from __future__ import annotations


class LingerError(ValueError):
    """Base of every error that linger_jax raises on purpose."""


class ConfigError(LingerError):
    """A configuration file, mapping or value that cannot be used."""


class PlatformLimitError(LingerError):
    """A layer asks for something the target chip cannot do."""


class UnsupportedError(LingerError):
    """A model construct that linger_jax does not quantize, met where a fallback to float is not allowed."""


class StateError(LingerError):
    """Quantizer state that is missing, of the wrong shape, or already set."""


class CalibrationError(LingerError):
    """Calibration data or a calibration method that cannot be used."""


class ConversionError(LingerError):
    """A checkpoint that does not fit the model it is imported into."""


class ExportError(LingerError):
    """A model that cannot be written in the requested ONNX dialect."""


class LingerWarning(UserWarning):
    """Category of every warning that linger_jax issues."""

"""The exception and warning family of linger_jax.

Every message says what is wrong, where (module path, or file, line and key), what is allowed and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class LingerError(ValueError):
    """Base of every error that linger_jax raises on purpose."""


@dataclass(frozen=True)
class ConfigProblem:
    """One thing wrong with a configuration: where (keys from the top, list positions as integers) and what."""

    path: tuple[str | int, ...]
    message: str

    @property
    def key_path(self) -> str:
        """The path as people write it: ``part1.name[0]``."""
        text = ""
        for step in self.path:
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        return text

    def __str__(self) -> str:
        return f"{self.key_path}: {self.message}" if self.path else self.message


class ConfigError(LingerError):
    """A configuration file, mapping or value that cannot be used.

    ``problems`` lists every fault that was found, not only the first.
    """

    def __init__(self, message: str, problems: Sequence[ConfigProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class PlanError(LingerError):
    """The model cannot be planned as asked."""


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


class DeviceLintError(ExportError):
    """A file that the target device would refuse or compute otherwise.

    ``report`` is the ``linger_jax.DeviceReport`` with every finding.
    """

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message)
        self.report = report


class PackError(ExportError):
    """A file that the vendor's packer does not turn into a package, or a packer that is missing or does not run."""


class FileError(LingerError):
    """A file or folder that cannot be written."""


class LingerWarning(UserWarning):
    """Category of every warning that linger_jax issues."""

"""The closed sets of values that configuration keys take.

Each member's name is its text in a YAML file and, except for ``Compat``, ``Lowering`` and ``QuantMethod.ONNX``, the
name the reference toolkit uses. ``Platform`` stands beside what is known of each chip, in ``linger_jax.targets``.
"""

from __future__ import annotations

from enum import StrEnum


class RoundMode(StrEnum):
    """Rounding of the activation quantizers; weights and biases have a rule of their own."""

    floor = "floor"
    """Round down."""
    floor_add = "floor_add"
    """floor(v + 0.5): ties go up."""
    round = "round"
    """Ties go to the even neighbour."""
    ceil = "ceil"
    """Known to the reference, which computes ``round`` for it: refused under ``Compat.chip``."""


class ActivationType(StrEnum):
    """Activation that follows a layer; only ``Relu`` changes a quantizer."""

    none = "none"
    Relu = "Relu"
    LeakRelu = "LeakRelu"
    ReluX = "ReluX"
    Sigmoid = "Sigmoid"
    Tanh = "Tanh"


class CalibrateExponent(StrEnum):
    """Which power of two a calibration takes for the range that its method found (docs/decisions.md D25)."""

    least_error = "least_error"
    """The one with the least squared error on the calibration data, of those near the range."""
    nearest = "nearest"
    """The nearest one, as the reference does."""
    no_clip = "no_clip"
    """The range rounded up to a power of two."""


class Arithmetic(StrEnum):
    """Whose integers a layer trains that the chip's executor computes otherwise than linger (docs/decisions.md D34)."""

    linger = "linger"
    """Those of linger's kernel; such a layer stays off the chip."""
    executor = "executor"
    """Those of the executor, where it was measured."""


class GruForm(StrEnum):
    """Whose cell a GRU trains where ``Arithmetic.executor`` counts (docs/decisions.md D34)."""

    linger = "linger"
    """That of linger's kernel; the layer stays off the chip."""
    executor = "executor"
    """The executor's own, where it was measured."""
    primitives = "primitives"
    """The usual cell of operators that the executor computes, unrolled in files."""


class Strategy(StrEnum):
    """Scale search strategies of the reference: stored in files, without effect on any number."""

    MSE = "MSE"
    RANGE_MEAN = "RANGE_MEAN"
    NSTD = "NSTD"
    HIST = "HIST"
    KLD = "KLD"
    TQT = "TQT"


class QuantMethod(StrEnum):
    """Rule set of fake quantization. It selects the arithmetic, never the device."""

    NATIVE = "NATIVE"
    CUDA = "CUDA"
    COMPILE = "COMPILE"
    """Computes as ``NATIVE``."""
    TRITON = "TRITON"
    """Computes as ``NATIVE``."""
    CUDA_GS = "CUDA_GS"
    ONNX = "ONNX"
    """Computes as ``NATIVE`` (docs/decisions.md D12)."""


class QatMethod(StrEnum):
    """How a quantizer's scale is found in training."""

    TQT = "TQT"
    """Trained threshold ``learning_data``."""
    MOM = "MOM"
    """Moving statistic ``running_data``."""


class Compat(StrEnum):
    """Which numbers win where the chip and the reference toolkit disagree."""

    chip = "chip"
    reference = "reference"


class Lowering(StrEnum):
    """Which implementation of convolution and pooling a CPU run uses; the results are the same."""

    auto = "auto"
    """CPU-optimised forms where they win."""
    stock = "stock"
    """Always XLA's own."""

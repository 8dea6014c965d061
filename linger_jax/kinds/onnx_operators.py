"""Every operator that a file may hold: linger's quantized ones, and those of the ONNX standard beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from linger_jax.kinds.onnx_operator import (
    AS_2D,
    AS_TABLE,
    LINGER,
    TRAIN_EXECUTOR_ROWS,
    UNKNOWN,
    USE_THINKER,
    WRITES_TABLE,
    Family,
    OnnxOperator,
    Refusal,
    Role,
    full_name,
)
from linger_jax.kinds.onnx_operator_sorts import (
    TAKEN,
    auxiliary,
    convolution,
    foreign,
    moving,
    quantized,
    refused,
    standard,
    translated,
    untranslated,
)

_DATA, _WEIGHT, _OTHER_BIAS, _NUMBERS = Role.data, Role.weight, Role.other_bias, Role.numbers
_WITH_BIAS = (_DATA, _WEIGHT, Role.bias)
_OF_CELL = (_DATA, _WEIGHT, _WEIGHT, _OTHER_BIAS, _OTHER_BIAS)

_RENAMED = "rename_unmapped_ops"
_NO_TRANSLATION = "the packer has no translation of this name"
_WANTS_PLANES = f"{USE_THINKER}: it writes the 2-D form"

# --- linger's domain ------------------------------------------------------------------------------------------------

QUANT = auxiliary("Quant", _DATA, result_grid=("scale_x", "data_bits"), states_platform=True)
DEQUANT = auxiliary("Dequant", _DATA, result_grid=None, states_platform=False)
TABLE_GATHER = auxiliary("Gather", _WEIGHT, _NUMBERS, result_grid=("scale_w", "w_bits"), states_platform=True)
"""Rows of a stored table; the standard's ``GATHER`` picks elements of a computed tensor."""
QUANTIZED_SQUEEZE = auxiliary("Squeeze", _DATA, _NUMBERS, result_grid=None, states_platform=False, reshapes=True)
"""Squeeze of integers, as linger writes it."""

QLINEAR = quantized(
    "QLinear",
    Family.linear,
    *_WITH_BIAS,
    packing=translated("LinearInt"),
    differs_between_chips=False,
    pointwise=False,
    ranks=(2, 3),
    needs_rounding=True,
)
QCONV2D = convolution("QConv2d", Family.convolution, translated("Conv2dInt"), ranks=(4,))
QCONV1D = convolution("QConv1d", Family.convolution, translated("Conv1dInt"), ranks=(3,), plane_form=QCONV2D)
QCONV_TRANSPOSE2D = convolution("QConvTranspose2d", Family.transposed, translated("ConvTranspose2dInt"), ranks=(4,))
QCONV_TRANSPOSE1D = convolution(
    "QConvTranspose1d",
    Family.transposed,
    refused(Refusal("transposed convolutions are 4-D", _WANTS_PLANES, AS_2D)),
    plane_form=QCONV_TRANSPOSE2D,
)
QBATCH_NORM2D = quantized(
    "QBatchNorm2d",
    Family.other,
    *_WITH_BIAS,
    packing=translated("BatchNorm2dInt"),
    differs_between_chips=False,
    pointwise=False,
    ranks=(4,),
    first_sample_only=True,
)
QBATCH_NORM1D = quantized(
    "QBatchNorm1d",
    Family.other,
    *_WITH_BIAS,
    packing=refused(Refusal("batch normalization is 4-D", _WANTS_PLANES, AS_2D)),
    differs_between_chips=False,
    pointwise=False,
    first_sample_only=True,
    plane_form=QBATCH_NORM2D,
)
QLAYER_NORM = quantized(
    "QLayerNorm",
    Family.other,
    *(_DATA, _WEIGHT, _OTHER_BIAS),
    packing=refused(
        Refusal(f"{_NO_TRANSLATION}; LayerNormInt packs, but computes other integers", TRAIN_EXECUTOR_ROWS)
    ),
    differs_between_chips=False,
    pointwise=False,
)
LAYER_NORM_INT = quantized(
    "LayerNormInt",
    Family.other,
    *(_DATA, _WEIGHT, _OTHER_BIAS),
    packing=TAKEN,
    differs_between_chips=False,
    pointwise=False,
    ranks=(3,),
)
"""A LayerNorm in the executor's own arithmetic."""
QAVG_POOL2D = quantized(
    "QAvgPool2d",
    Family.average,
    _DATA,
    packing=translated("AvgPool2dInt"),
    differs_between_chips=True,
    pointwise=False,
    ranks=(4,),
    first_sample_only=True,
)
QAVG_POOL1D = quantized(
    "QAvgPool1d",
    Family.average,
    _DATA,
    packing=refused(Refusal("average pooling is 4-D", _WANTS_PLANES, AS_2D)),
    differs_between_chips=True,
    pointwise=False,
    first_sample_only=True,
    plane_form=QAVG_POOL2D,
)
QGLOBAL_AVERAGE_POOL2D = quantized(
    "QGlobalAveragePool2d",
    Family.average,
    _DATA,
    packing=refused(
        Refusal(
            _NO_TRANSLATION, f"{USE_THINKER}: it writes an average pool over the whole plane", "global_pool_as_window"
        )
    ),
    differs_between_chips=True,
    pointwise=False,
    exported=False,
)

QADD = quantized(
    "QAdd", Family.other, _DATA, _DATA, packing=translated("iqAdd"), differs_between_chips=False, pointwise=True
)
QMUL = quantized(
    "QMul", Family.other, _DATA, _DATA, packing=translated("iqMul"), differs_between_chips=False, pointwise=True
)
QCAT = quantized(
    "QCat",
    Family.other,
    _DATA,
    packing=translated("iqCat"),
    differs_between_chips=False,
    pointwise=False,
    variadic=True,
)
QBMM = quantized(
    "QBmm",
    Family.product,
    *(_DATA, _DATA),
    packing=translated("BmmInt"),
    differs_between_chips=False,
    pointwise=False,
    ranks=(2, 3),
)
QMATMUL = quantized(
    "QMatmul",
    Family.product,
    *(_DATA, _DATA),
    packing=refused(Refusal(_NO_TRANSLATION, f"{USE_THINKER}: it writes BmmInt", _RENAMED)),
    differs_between_chips=False,
    pointwise=False,
    ranks=(2, 3),
    same_as=QBMM,
    exported=False,
)
REQUANT = quantized("Requant", Family.other, _DATA, packing=TAKEN, differs_between_chips=False, pointwise=True)
"""The same number on another grid; wider integers on one at least as fine only."""
QSIGMOID = quantized(
    "QSigmoid", Family.other, _DATA, packing=translated("iqSigmoid"), differs_between_chips=True, pointwise=True
)
QTANH = quantized(
    "QTanh", Family.other, _DATA, packing=translated("iqTanh"), differs_between_chips=True, pointwise=True
)
QGELU = quantized(
    "QGelu",
    Family.other,
    _DATA,
    packing=refused(Refusal("the packer has no such operator", WRITES_TABLE, AS_TABLE)),
    differs_between_chips=True,
    pointwise=True,
)
QSWISH = quantized(
    "QSwish",
    Family.other,
    _DATA,
    packing=refused(Refusal("the packer has no such operator", WRITES_TABLE, AS_TABLE)),
    differs_between_chips=True,
    pointwise=True,
)
QTABLE = quantized(
    "QTable",
    Family.other,
    *(_DATA, Role.results),
    packing=refused(Refusal("the packer has no such operator", WRITES_TABLE, AS_TABLE)),
    differs_between_chips=False,
    pointwise=True,
)
"""Any function of integers of at most 8 bits: ``results[x + 128]``."""
QSOFTMAX = quantized(
    "QSoftmax", Family.other, _DATA, packing=translated("SoftmaxInt"), differs_between_chips=True, pointwise=False
)
QGLU = quantized(
    "QGLU",
    Family.other,
    _DATA,
    packing=untranslated("GluInt", Refusal(_NO_TRANSLATION, f"{USE_THINKER}: it writes GluInt", _RENAMED)),
    differs_between_chips=True,
    pointwise=False,
)
QLSTM = quantized(
    "QLSTM",
    Family.recurrent,
    *_OF_CELL,
    packing=translated("LSTMInt"),
    differs_between_chips=True,
    pointwise=False,
    ranks=(3,),
    needs_rounding=True,
)
QGRU = quantized(
    "QGRU",
    Family.recurrent,
    *_OF_CELL,
    packing=translated("GRUInt"),
    differs_between_chips=True,
    pointwise=False,
    ranks=(3,),
)

# --- the ONNX standard ----------------------------------------------------------------------------------------------

RELU = standard("Relu", _DATA, passes_grid=True, pointwise=True)
CLIP = standard(
    "Clip",
    *(_DATA, _NUMBERS, _NUMBERS),
    packing=refused(
        Refusal(
            "the packer's test of its element type cannot succeed",
            f"{USE_THINKER}: a relu6 becomes saturation; use relu in the place of other clips",
            "clip_by_saturation",
        )
    ),
    passes_grid=True,
    pointwise=True,
)
MAX_POOL = standard("MaxPool", _DATA, passes_grid=True, ranks=(4,), first_sample_only=True)
PAD = standard(
    "Pad",
    *(_DATA, _NUMBERS, _NUMBERS),
    packing=refused(
        Refusal(
            "the packer refuses Pad",
            f"{USE_THINKER}: zeros in front of a convolution become its padding, others a QCat",
            "pad_in_convolution",
        )
    ),
    passes_grid=True,
)
RESHAPE = moving("Reshape", _NUMBERS, reshapes=True)
FLATTEN = moving("Flatten", reshapes=True)
SQUEEZE = moving("Squeeze", _NUMBERS, reshapes=True, axes_attribute="axes")
UNSQUEEZE = moving("Unsqueeze", _NUMBERS, reshapes=True, axes_attribute="axes")
TRANSPOSE = moving("Transpose")
SLICE = moving("Slice", _NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS)
SPLIT = moving(
    "Split",
    _NUMBERS,
    packing=refused(
        Refusal(
            "the packer wants an attribute dims in the place of split, and fails on it",
            f"{USE_THINKER}: it writes slices",
            "split_as_slices",
        )
    ),
    axes_attribute="split",
)
GATHER = moving("Gather", _NUMBERS)
EXPAND = moving("Expand", _NUMBERS)
TILE = moving("Tile", _NUMBERS, exported=False)
IDENTITY = standard(
    "Identity",
    _DATA,
    packing=refused(
        Refusal(
            "the packer has no Identity",
            f"{USE_THINKER}: it drops the node; an output that is an input as it came belongs outside the model",
            "drop_identity",
        )
    ),
    passes_grid=True,
)
CONCAT = standard("Concat", _DATA, packing=refused(UNKNOWN), passes_grid=False, variadic=True)
"""Of floats; integers are joined by ``QCAT``."""
ARG_MAX = standard("ArgMax", _DATA, passes_grid=False)

_FLOATS = "it computes with floats, and a file runs in integers"
SIGMOID = foreign("Sigmoid", TAKEN, _FLOATS)
TANH = foreign("Tanh", TAKEN, _FLOATS)
_FOREIGN = (
    foreign(
        "Cast",
        refused(Refusal("the packer fails when it writes one", "Remove the cast: give the file what it needs")),
        "the scale of what it makes is not known",
    ),
    foreign("Shape", TAKEN, "shapes are numbers in our files"),
    foreign("Resize", refused(UNKNOWN), _FLOATS),
    foreign("LogSoftmax", refused(UNKNOWN), _FLOATS),
    foreign("ShuffleChannel", refused(UNKNOWN), "it is no operator of the ONNX standard"),
)
"""What no rule and no check asks about; the last three are taken for one chip (``targets.Device.own_operators``)."""

# --- the table ------------------------------------------------------------------------------------------------------

ONNX_OPERATORS: tuple[OnnxOperator, ...] = (
    *(row for row in globals().values() if isinstance(row, OnnxOperator)),
    *_FOREIGN,
)
"""All rows."""


def _where(condition: Callable[[OnnxOperator], bool]) -> frozenset[OnnxOperator]:
    return frozenset(filter(condition, ONNX_OPERATORS))


CONVOLUTIONS = _where(lambda row: row.family is Family.convolution)
TRANSPOSED = _where(lambda row: row.family is Family.transposed)
WEIGHTED = CONVOLUTIONS | TRANSPOSED | _where(lambda row: row.family is Family.linear)
"""Products with a stored weight."""
WITH_BIAS = _where(lambda row: Role.weight in row.inputs and Role.bias in row.inputs)
"""Products with a stored weight that add a bias before the one rounding, normalizations among them."""
PARAMETRIC = _where(lambda row: Role.weight in row.inputs)
"""Whatever has stored integers of ``w_bits``."""
PRODUCTS = _where(lambda row: row.family is Family.product)
AVERAGES = _where(lambda row: row.family is Family.average)
OF_ONE_SHAPE = frozenset({QADD, QMUL})
"""Of two tensors, element by element: executors repeat no smaller operand."""
ALONG_LAST_AXIS = frozenset({QSOFTMAX, QGLU})
"""Functions that the executors compute along the last axis only."""
RECURRENT = _where(lambda row: row.family is Family.recurrent)
SQUEEZES = frozenset({SQUEEZE, QUANTIZED_SQUEEZE})

OPERATOR_OF_NAME: Mapping[str, OnnxOperator] = {
    **{row.full_name: row for row in ONNX_OPERATORS},
    **{full_name(LINGER, row.packing.name): row for row in ONNX_OPERATORS if row.packing.name is not None},
}
"""By the name in a file with its domain: linger's or the standard's, and the packer's own in linger's domain."""

PACKER_TAKES: frozenset[str] = frozenset(
    name
    for row in ONNX_OPERATORS
    for name in (row.packing.name, row.name if row.packing.takes_name else None)
    if name is not None
)
"""Names that the packer takes for every chip; it ignores the domain."""

"""Every operator that a file may hold: linger's quantized ones, and those of the ONNX standard that stand beside them.

A row says what is peculiar to an operator; the functions in front of the rows say what all operators of a sort share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from linger_jax.kinds.onnx_operator import LINGER, Family, OnnxOperator, Packing, Refusal, Role, full_name

DATA, WEIGHT, BIAS, OTHER_BIAS, NUMBERS = Role.data, Role.weight, Role.bias, Role.other_bias, Role.numbers
_ON_OUTPUT = ("scale_o", "o_bits")

# --- what the packer makes of a name (docs/specification/onnx_export.md section 4.1) --------------------------------

USE_THINKER = "Export with dialect='thinker'"
AS_2D = "one_dimension_as_two"
_RENAMED = "rename_unmapped_ops"
_NO_TRANSLATION = "the packer has no translation of this name"
_KEEP_OFF = "Keep the layer off the chip, or use BatchNorm in its place"
UNKNOWN = Refusal(
    "no device computes it, in float least of all",
    "Quantize what makes it: concatenations, sums and products have quantized forms (QCat, QAdd, QMul)",
)
"""What the packer makes of an operator that no row is about."""


def _translated(name: str) -> Packing:
    """The packer takes linger's name for its own."""
    return Packing(name=name, takes_name=True, refusal=None)


def _untranslated(name: str, refusal: Refusal) -> Packing:
    """The packer knows the operator by its own name alone."""
    return Packing(name=name, takes_name=False, refusal=refusal)


def _refused(refusal: Refusal) -> Packing:
    return Packing(name=None, takes_name=False, refusal=refusal)


_TAKEN = Packing(name=None, takes_name=True, refusal=None)
_WANTS_PLANES = f"{USE_THINKER}: it writes the 2-D form"

# --- what operators of a sort share ---------------------------------------------------------------------------------


def _quantized(
    name: str,
    family: Family,
    *inputs: Role,
    packing: Packing,
    differs_between_chips: bool,
    pointwise: bool,
    variadic: bool = False,
    ranks: tuple[int, ...] = (),
    needs_rounding: bool = False,
    first_sample_only: bool = False,
    plane_form: OnnxOperator | None = None,
    same_as: OnnxOperator | None = None,
    exported: bool = True,
) -> OnnxOperator:
    """An operator of integers whose result has a grid of its own."""
    return OnnxOperator(
        name=name,
        domain=LINGER,
        family=family,
        inputs=inputs,
        variadic=variadic,
        ranks=ranks,
        result_grid=_ON_OUTPUT,
        passes_grid=False,
        moves=False,
        reshapes=False,
        pointwise=pointwise,
        differs_between_chips=differs_between_chips,
        states_platform=True,
        states_rounding=True,
        needs_rounding=needs_rounding,
        first_sample_only=first_sample_only,
        plane_form=plane_form,
        same_as=same_as,
        axes_attribute=None,
        packing=packing,
        exported=exported,
        not_run="",
    )


def _boundary(
    name: str,
    *inputs: Role,
    result_grid: tuple[str, str] | None,
    states_platform: bool,
    passes_grid: bool = False,
    axes_attribute: str | None = None,
) -> OnnxOperator:
    """One of linger's domain that computes no layer: between floats and integers, look-ups, axes of length one."""
    return OnnxOperator(
        name=name,
        domain=LINGER,
        family=Family.other,
        inputs=inputs,
        variadic=False,
        ranks=(),
        result_grid=result_grid,
        passes_grid=passes_grid,
        moves=passes_grid,
        reshapes=passes_grid,
        pointwise=False,
        differs_between_chips=False,
        states_platform=states_platform,
        states_rounding=False,
        needs_rounding=False,
        first_sample_only=False,
        plane_form=None,
        same_as=None,
        axes_attribute=axes_attribute,
        packing=_TAKEN,
        exported=True,
        not_run="",
    )


def _standard(
    name: str,
    *inputs: Role,
    packing: Packing = _TAKEN,
    passes_grid: bool,
    moves: bool = False,
    reshapes: bool = False,
    pointwise: bool = False,
    variadic: bool = False,
    ranks: tuple[int, ...] = (),
    first_sample_only: bool = False,
    axes_attribute: str | None = None,
    exported: bool = True,
    not_run: str = "",
) -> OnnxOperator:
    """An operator of the ONNX standard."""
    return OnnxOperator(
        name=name,
        domain="",
        family=Family.other,
        inputs=inputs,
        variadic=variadic,
        ranks=ranks,
        result_grid=None,
        passes_grid=passes_grid,
        moves=moves,
        reshapes=reshapes,
        pointwise=pointwise,
        differs_between_chips=False,
        states_platform=False,
        states_rounding=False,
        needs_rounding=False,
        first_sample_only=first_sample_only,
        plane_form=None,
        same_as=None,
        axes_attribute=axes_attribute,
        packing=packing,
        exported=exported,
        not_run=not_run,
    )


def _moving(
    name: str,
    *numbers: Role,
    packing: Packing = _TAKEN,
    reshapes: bool = False,
    axes_attribute: str | None = None,
    exported: bool = True,
) -> OnnxOperator:
    """A standard operator that moves elements of its first input."""
    return _standard(
        name,
        DATA,
        *numbers,
        packing=packing,
        passes_grid=True,
        moves=True,
        reshapes=reshapes,
        axes_attribute=axes_attribute,
        exported=exported,
    )


def _foreign(name: str, packing: Packing, not_run: str) -> OnnxOperator:
    """A standard operator that is known for what the packer makes of it; no export writes it."""
    return _standard(name, DATA, packing=packing, passes_grid=False, exported=False, not_run=not_run)


# --- linger's domain ------------------------------------------------------------------------------------------------

QUANT = _boundary("Quant", DATA, result_grid=("scale_x", "data_bits"), states_platform=True)
DEQUANT = _boundary("Dequant", DATA, result_grid=None, states_platform=False)
TABLE_GATHER = _boundary("Gather", WEIGHT, NUMBERS, result_grid=("scale_w", "w_bits"), states_platform=True)
"""Rows of a stored table; the standard's :data:`GATHER` picks elements of a computed tensor."""
QUANTIZED_SQUEEZE = _boundary(
    "Squeeze", DATA, NUMBERS, result_grid=None, states_platform=False, passes_grid=True, axes_attribute=None
)
"""Squeeze of integers, as linger writes it."""

QLINEAR = _quantized(
    "QLinear",
    Family.linear,
    *(DATA, WEIGHT, BIAS),
    packing=_translated("LinearInt"),
    differs_between_chips=False,
    pointwise=False,
    needs_rounding=True,
)
QCONV2D = _quantized(
    "QConv2d",
    Family.convolution,
    *(DATA, WEIGHT, BIAS),
    packing=_translated("Conv2dInt"),
    differs_between_chips=False,
    pointwise=False,
    ranks=(4,),
    needs_rounding=True,
    first_sample_only=True,
)
QCONV1D = _quantized(
    "QConv1d",
    Family.convolution,
    *(DATA, WEIGHT, BIAS),
    packing=_translated("Conv1dInt"),
    differs_between_chips=False,
    pointwise=False,
    ranks=(3,),
    needs_rounding=True,
    first_sample_only=True,
    plane_form=QCONV2D,
)
QCONV_TRANSPOSE2D = _quantized(
    "QConvTranspose2d",
    Family.transposed,
    *(DATA, WEIGHT, BIAS),
    packing=_translated("ConvTranspose2dInt"),
    differs_between_chips=False,
    pointwise=False,
    ranks=(4,),
    needs_rounding=True,
    first_sample_only=True,
)
QCONV_TRANSPOSE1D = _quantized(
    "QConvTranspose1d",
    Family.transposed,
    *(DATA, WEIGHT, BIAS),
    packing=_refused(Refusal("transposed convolutions are 4-D", _WANTS_PLANES, AS_2D)),
    differs_between_chips=False,
    pointwise=False,
    needs_rounding=True,
    first_sample_only=True,
    plane_form=QCONV_TRANSPOSE2D,
)
QBATCH_NORM2D = _quantized(
    "QBatchNorm2d",
    Family.other,
    *(DATA, WEIGHT, BIAS),
    packing=_translated("BatchNorm2dInt"),
    differs_between_chips=False,
    pointwise=False,
    ranks=(4,),
    first_sample_only=True,
)
QBATCH_NORM1D = _quantized(
    "QBatchNorm1d",
    Family.other,
    *(DATA, WEIGHT, BIAS),
    packing=_refused(Refusal("batch normalization is 4-D", _WANTS_PLANES, AS_2D)),
    differs_between_chips=False,
    pointwise=False,
    first_sample_only=True,
    plane_form=QBATCH_NORM2D,
)
QLAYER_NORM = _quantized(
    "QLayerNorm",
    Family.other,
    *(DATA, WEIGHT, OTHER_BIAS),
    packing=_untranslated(
        "LayerNormInt", Refusal(f"{_NO_TRANSLATION}; LayerNormInt packs, but computes other integers", _KEEP_OFF)
    ),
    differs_between_chips=False,
    pointwise=False,
)
QAVG_POOL2D = _quantized(
    "QAvgPool2d",
    Family.average,
    DATA,
    packing=_translated("AvgPool2dInt"),
    differs_between_chips=True,
    pointwise=False,
    ranks=(4,),
    first_sample_only=True,
)
QAVG_POOL1D = _quantized(
    "QAvgPool1d",
    Family.average,
    DATA,
    packing=_refused(Refusal("average pooling is 4-D", _WANTS_PLANES, AS_2D)),
    differs_between_chips=True,
    pointwise=False,
    first_sample_only=True,
    plane_form=QAVG_POOL2D,
)
QGLOBAL_AVERAGE_POOL2D = _quantized(
    "QGlobalAveragePool2d",
    Family.average,
    DATA,
    packing=_refused(
        Refusal(
            _NO_TRANSLATION, f"{USE_THINKER}: it writes an average pool over the whole plane", "global_pool_as_window"
        )
    ),
    differs_between_chips=True,
    pointwise=False,
    exported=False,
)

QADD = _quantized(
    "QAdd", Family.other, DATA, DATA, packing=_translated("iqAdd"), differs_between_chips=False, pointwise=True
)
QMUL = _quantized(
    "QMul", Family.other, DATA, DATA, packing=_translated("iqMul"), differs_between_chips=False, pointwise=True
)
QCAT = _quantized(
    "QCat",
    Family.other,
    DATA,
    packing=_translated("iqCat"),
    differs_between_chips=False,
    pointwise=False,
    variadic=True,
)
QBMM = _quantized(
    "QBmm",
    Family.product,
    DATA,
    DATA,
    packing=_translated("BmmInt"),
    differs_between_chips=False,
    pointwise=False,
    ranks=(2, 3),
)
QMATMUL = _quantized(
    "QMatmul",
    Family.product,
    *(DATA, DATA),
    packing=_refused(Refusal(_NO_TRANSLATION, f"{USE_THINKER}: it writes BmmInt", _RENAMED)),
    differs_between_chips=False,
    pointwise=False,
    ranks=(2, 3),
    same_as=QBMM,
    exported=False,
)
QSIGMOID = _quantized(
    "QSigmoid", Family.other, DATA, packing=_translated("iqSigmoid"), differs_between_chips=True, pointwise=True
)
QTANH = _quantized(
    "QTanh", Family.other, DATA, packing=_translated("iqTanh"), differs_between_chips=True, pointwise=True
)
QGELU = _quantized(
    "QGelu",
    Family.other,
    DATA,
    packing=_refused(Refusal("the packer has no such operator", "Use relu in the model's place of gelu")),
    differs_between_chips=True,
    pointwise=True,
)
QSWISH = _quantized(
    "QSwish",
    Family.other,
    DATA,
    packing=_refused(Refusal("the packer has no such operator", "Use relu in the model's place of silu")),
    differs_between_chips=True,
    pointwise=True,
)
QSOFTMAX = _quantized(
    "QSoftmax", Family.other, DATA, packing=_translated("SoftmaxInt"), differs_between_chips=True, pointwise=False
)
QGLU = _quantized(
    "QGLU",
    Family.other,
    DATA,
    packing=_untranslated("GluInt", Refusal(_NO_TRANSLATION, f"{USE_THINKER}: it writes GluInt", _RENAMED)),
    differs_between_chips=True,
    pointwise=False,
)
QLSTM = _quantized(
    "QLSTM",
    Family.recurrent,
    *(DATA, WEIGHT, WEIGHT, OTHER_BIAS, OTHER_BIAS),
    packing=_translated("LSTMInt"),
    differs_between_chips=True,
    pointwise=False,
    ranks=(3,),
    needs_rounding=True,
)
QGRU = _quantized(
    "QGRU",
    Family.recurrent,
    *(DATA, WEIGHT, WEIGHT, OTHER_BIAS, OTHER_BIAS),
    packing=_translated("GRUInt"),
    differs_between_chips=True,
    pointwise=False,
    ranks=(3,),
)

# --- the ONNX standard ----------------------------------------------------------------------------------------------

RELU = _standard("Relu", DATA, passes_grid=True, pointwise=True)
CLIP = _standard(
    "Clip",
    *(DATA, NUMBERS, NUMBERS),
    packing=_refused(
        Refusal(
            "the packer's test of its element type cannot succeed",
            f"{USE_THINKER}: a relu6 becomes saturation; use relu in the place of other clips",
            "clip_by_saturation",
        )
    ),
    passes_grid=True,
    pointwise=True,
)
MAX_POOL = _standard("MaxPool", DATA, passes_grid=True, ranks=(4,), first_sample_only=True)
PAD = _standard(
    "Pad",
    *(DATA, NUMBERS, NUMBERS),
    packing=_refused(
        Refusal(
            "the packer refuses Pad",
            f"{USE_THINKER}: zeros in front of a convolution become its padding; pad other tensors in a layer",
            "pad_in_convolution",
        )
    ),
    passes_grid=True,
)
RESHAPE = _moving("Reshape", NUMBERS, reshapes=True)
FLATTEN = _moving("Flatten", reshapes=True)
SQUEEZE = _moving("Squeeze", NUMBERS, reshapes=True, axes_attribute="axes")
UNSQUEEZE = _moving("Unsqueeze", NUMBERS, reshapes=True, axes_attribute="axes")
TRANSPOSE = _moving("Transpose")
SLICE = _moving("Slice", NUMBERS, NUMBERS, NUMBERS, NUMBERS)
SPLIT = _moving(
    "Split",
    NUMBERS,
    packing=_refused(
        Refusal(
            "the packer wants an attribute dims in the place of split, and fails on it",
            f"{USE_THINKER}: it writes slices",
            "split_as_slices",
        )
    ),
    axes_attribute="split",
)
GATHER = _moving("Gather", NUMBERS)
EXPAND = _moving("Expand", NUMBERS)
TILE = _moving("Tile", NUMBERS, exported=False)
IDENTITY = _standard(
    "Identity",
    DATA,
    packing=_refused(Refusal("the packer has no Identity", f"{USE_THINKER}: it drops the node", "drop_identity")),
    passes_grid=True,
)
CONCAT = _standard("Concat", DATA, packing=_refused(UNKNOWN), passes_grid=False, variadic=True)
"""Of floats; integers are joined by :data:`QCAT`."""
ARG_MAX = _standard("ArgMax", DATA, passes_grid=False)

_FLOATS = "it computes with floats, and a file runs in integers"
SIGMOID = _foreign("Sigmoid", _TAKEN, _FLOATS)
TANH = _foreign("Tanh", _TAKEN, _FLOATS)
CAST = _foreign(
    "Cast",
    _refused(
        Refusal("the packer fails when it writes one", "Remove the cast: give the file what it needs"),
    ),
    "the scale of what it makes is not known",
)
SHAPE = _foreign("Shape", _TAKEN, "shapes are numbers in our files")
RESIZE = _foreign("Resize", _refused(UNKNOWN), _FLOATS)
LOG_SOFTMAX = _foreign("LogSoftmax", _refused(UNKNOWN), _FLOATS)
SHUFFLE_CHANNEL = _foreign("ShuffleChannel", _refused(UNKNOWN), "it is no operator of the ONNX standard")

# --- the table ------------------------------------------------------------------------------------------------------

ONNX_OPERATORS: tuple[OnnxOperator, ...] = tuple(row for row in globals().values() if isinstance(row, OnnxOperator))
"""All rows."""


def _where(condition: Callable[[OnnxOperator], bool]) -> frozenset[OnnxOperator]:
    return frozenset(filter(condition, ONNX_OPERATORS))


CONVOLUTIONS = _where(lambda row: row.family is Family.convolution)
TRANSPOSED = _where(lambda row: row.family is Family.transposed)
WEIGHTED = CONVOLUTIONS | TRANSPOSED | _where(lambda row: row.family is Family.linear)
"""Products with a stored weight."""
PARAMETRIC = _where(lambda row: Role.weight in row.inputs)
"""Whatever has stored integers of ``w_bits``."""
PRODUCTS = _where(lambda row: row.family is Family.product)
AVERAGES = _where(lambda row: row.family is Family.average)
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

"""What is known of arcs."""

from __future__ import annotations

from collections.abc import Mapping

from linger_jax.targets.device import (
    Device,
    Executor,
    FunctionForm,
    LookUp,
    PlatformQuant,
    RowBuffer,
    ScratchNeed,
    TableIndex,
)
from linger_jax.targets.kernels import (
    ChipKernels,
    GruArithmetic,
    LstmArithmetic,
    SigmoidTanh,
    Softmax,
    SoftmaxDivision,
    WideArithmetic,
)
from linger_jax.targets.target import PoolDivision, Target, WindowLimits

SCRATCH: Mapping[str, Mapping[int, ScratchNeed]] = {
    "LayerNormInt": {8: ScratchNeed(of_row=27, fixed=8)},
    "QGRU": {8: ScratchNeed(of_hidden=24, fixed=16)},
    "QMul": {8: ScratchNeed(of_value=1, of_channel=1)},
    "QAvgPool2d": {8: ScratchNeed(of_window=1, of_result=1)},
}
"""What the executors of arcs and venusA share (docs/specification/executor.md sections 5 and 8)."""

ARCS = Target(
    windows=WindowLimits(kernel=(1, 12), strides=(1, 2, 4), padding=(0, 11)),
    pool_division=PoolDivision.closed_reciprocal,
    fixes_scale_of_sigmoid=True,
    kernels=ChipKernels(
        sigmoid_tanh=SigmoidTanh(
            sigmoid_table="sigmoid_arcs",
            tanh_table="tanh_arcs",
            arithmetic=WideArithmetic(kept_fraction_bits=31, gate_fraction_bits=31),
            input_fraction_bits=27,
            input_bits=32,
            linger_wraps_input=False,
        ),
        softmax=Softmax(moves_least_maximum=False, rounds_powers_once=False, division=SoftmaxDivision.long_division),
        gelu_swish=None,
        lstm=LstmArithmetic(rounds_cell_once=False),
        gru=GruArithmetic(
            common_accumulator=False,
            saturates_difference=False,
            linger_keeps_new=False,
            linger_stops_difference_gradient=False,
            linger_resets_before_product=True,
        ),
    ),
    device=Device(
        share_memory=384 * 1024,
        psram=8 * 1024**2,
        conv2d_kernel={1: 5, 2: 12, 4: 12, 8: 12},
        conv1d_kernel=12,
        transposed_kernel=12,
        narrowest_group_channels=0,
        transposed_of_stride_one=16_384,
        strides=(1, 2, 4),
        padding=11,
        functions={
            "QSigmoid": FunctionForm(input_bits=8, input_scale=None, output_bits=8, output_scale=2.0**7),
            "QTanh": None,
        },
        look_up=LookUp(index=TableIndex.product, elements=16_384, joined_bits=(8, 16, 32)),
        output_bits=(8, 32),
        linear_output_bits=(8, 16, 32),
        exact_output_bits={"QLinear": (8, 32), "QConv1d": (8, 32)},
        linear_weight_bits=(8,),
        softmax_length=2048,
        scratch=SCRATCH,
        lstm_overhang=0,
        softmax_workspace=4,
        conv_workspace=None,
        platform_quant=PlatformQuant.unused,
        missing_operators=frozenset(),
        own_operators=frozenset(),
        executor=Executor(
            measured=True,
            addition_of_constant_hangs=True,
            softmax_axis_is_misread=True,
            conv1d_differs=False,
            transpose_of_four_axes_crashes=False,
            linear_rows_are_corrupted=False,
            attention_on_input_differs=False,
            glu_differs=True,
            normalizes_rows=True,
            gru_gates_read_state=True,
            row_buffer=RowBuffer(size=16 * 1024, pool_bytes=16 * 1024, pool_grain=8, width_grain=4, cuts_evenly=True),
            concatenation_only_shifts_left=False,
        ),
    ),
)

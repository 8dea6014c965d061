"""What is known of venus."""

from __future__ import annotations

from linger_jax.targets.device import Device, Executor, FunctionForm, LookUp, PlatformQuant, TableIndex
from linger_jax.targets.kernels import (
    ChipKernels,
    GruArithmetic,
    LstmArithmetic,
    NarrowArithmetic,
    SigmoidTanh,
    Softmax,
    SoftmaxDivision,
)
from linger_jax.targets.target import PoolDivision, Target, WindowLimits

VENUS = Target(
    windows=WindowLimits(kernel=(1, 5), strides=(1, 2, 4), padding=(0, 4)),
    pool_division=PoolDivision.half_open_reciprocal,
    fixes_scale_of_sigmoid=False,
    kernels=ChipKernels(
        sigmoid_tanh=SigmoidTanh(
            sigmoid_table="sigmoid_venus",
            tanh_table="tanh_venus",
            arithmetic=NarrowArithmetic(result_fraction_bits=15),
            input_fraction_bits=11,
            input_bits=16,
            linger_wraps_input=True,
        ),
        softmax=Softmax(moves_least_maximum=False, rounds_powers_once=False, division=SoftmaxDivision.newton),
        gelu_swish=None,
        lstm=LstmArithmetic(rounds_cell_once=True),
        gru=GruArithmetic(
            common_accumulator=False,
            saturates_difference=True,
            linger_keeps_new=True,
            linger_stops_difference_gradient=True,
            linger_resets_before_product=False,
        ),
    ),
    device=Device(
        share_memory=640 * 1024,
        psram=8 * 1024**2,
        conv2d_kernel={1: 5},
        conv1d_kernel=5,
        transposed_kernel=5,
        narrowest_group_channels=3,
        transposed_of_stride_one=None,
        strides=(1, 2, 4),
        padding=4,
        functions={
            "QSigmoid": FunctionForm(input_bits=16, input_scale=2.0**11, output_bits=8, output_scale=2.0**7),
            "QTanh": FunctionForm(input_bits=16, input_scale=2.0**11, output_bits=8, output_scale=2.0**7),
        },
        look_up=LookUp(index=TableIndex.product, elements=8_192, joined_bits=(8,)),
        output_bits=(8, 32),
        linear_output_bits=(8, 16, 32),
        exact_output_bits={"QLinear": (8, 16, 32)},
        linear_weight_bits=(8,),
        softmax_length=2048,
        scratch={},
        lstm_overhang=0,
        softmax_workspace=4,
        conv_workspace=None,
        platform_quant=PlatformQuant.wanted,
        missing_operators=frozenset(),
        own_operators=frozenset({"Resize", "LogSoftmax", "ShuffleChannel"}),
        executor=Executor(
            measured=False,
            addition_of_constant_hangs=False,
            softmax_axis_is_misread=False,
            conv1d_differs=False,
            transpose_of_four_axes_crashes=False,
            linear_rows_are_corrupted=False,
            attention_on_input_differs=False,
            glu_differs=False,
            normalizes_rows=False,
            gru_gates_read_state=None,
            row_buffer=None,
            concatenation_only_shifts_left=False,
        ),
    ),
)

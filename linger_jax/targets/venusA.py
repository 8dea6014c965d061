"""What is known of venusA."""

from __future__ import annotations

from linger_jax.targets.arcs import SCRATCH
from linger_jax.targets.device import Device, Executor, LookUp, PlatformQuant, RowBuffer, ScratchNeed, TableIndex
from linger_jax.targets.kernels import (
    ChipKernels,
    GeluSwish,
    GruArithmetic,
    LstmArithmetic,
    SigmoidTanh,
    Softmax,
    SoftmaxDivision,
    WideArithmetic,
)
from linger_jax.targets.target import PoolDivision, Target, WindowLimits

VENUS_A = Target(
    windows=WindowLimits(kernel=(1, 12), strides=(1, 2, 4), padding=(0, 11)),
    pool_division=PoolDivision.integer_reciprocal,
    fixes_scale_of_sigmoid=True,
    kernels=ChipKernels(
        sigmoid_tanh=SigmoidTanh(
            sigmoid_table="sigmoid_venusA",
            tanh_table="tanh_venusA",
            arithmetic=WideArithmetic(kept_fraction_bits=58, gate_fraction_bits=31),
            input_fraction_bits=27,
            input_bits=32,
            linger_wraps_input=False,
        ),
        softmax=Softmax(moves_least_maximum=True, rounds_powers_once=True, division=SoftmaxDivision.long_division),
        gelu_swish=GeluSwish(gelu_table="gelu_venusA", swish_table="swish_venusA"),
        lstm=LstmArithmetic(rounds_cell_once=False),
        gru=GruArithmetic(
            common_accumulator=True,
            saturates_difference=False,
            linger_keeps_new=False,
            linger_stops_difference_gradient=False,
            linger_resets_before_product=False,
        ),
    ),
    device=Device(
        share_memory=384 * 1024,
        psram=8 * 1024**2,
        conv2d_kernel={1: 5, 2: 12, 4: 12, 8: 12},
        conv1d_kernel=12,
        transposed_kernel=12,
        narrowest_group_channels=0,
        transposed_of_stride_one=None,
        strides=(1, 2, 4),
        padding=11,
        functions={"QSigmoid": None, "QTanh": None},
        look_up=LookUp(index=TableIndex.addition, elements=16_384, joined_bits=(8, 16, 32)),
        output_bits=(8, 16, 32),
        linear_output_bits=(8, 16, 32),
        exact_output_bits={"QLinear": (8, 32)},
        linear_weight_bits=(8, 32),
        softmax_length=2048,
        scratch={
            **SCRATCH,
            "QSoftmax": {
                8: ScratchNeed(of_value=22),
                16: ScratchNeed(of_value=20),
                32: ScratchNeed(of_value=4, of_row=16),
            },
        },
        lstm_overhang=3,
        softmax_workspace=6,
        conv_workspace=64 * 1024,
        platform_quant=PlatformQuant.unused,
        missing_operators=frozenset(),
        own_operators=frozenset(),
        executor=Executor(
            measured=True,
            addition_of_constant_hangs=True,
            softmax_axis_is_misread=False,
            conv1d_differs=True,
            transpose_of_four_axes_crashes=True,
            linear_rows_are_corrupted=True,
            attention_on_input_differs=True,
            glu_differs=False,
            normalizes_rows=True,
            gru_gates_read_state=False,
            row_buffer=RowBuffer(size=64 * 1024, pool_bytes=32 * 1024, pool_grain=4, width_grain=8, cuts_evenly=False),
            concatenation_only_shifts_left=True,
        ),
    ),
)

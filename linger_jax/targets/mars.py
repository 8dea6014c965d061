"""What is known of mars, which computes with the kernels of arcs."""

from __future__ import annotations

from linger_jax.targets.arcs import ARCS
from linger_jax.targets.device import Device, Executor, FunctionForm, PlatformQuant
from linger_jax.targets.target import PoolDivision, Target, WindowLimits

MARS = Target(
    windows=WindowLimits(kernel=(1, 12), strides=(1, 2, 4), padding=(0, 11)),
    pool_division=PoolDivision.integer_reciprocal,
    fixes_scale_of_sigmoid=True,
    kernels=ARCS.kernels,
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
        functions={
            "QSigmoid": FunctionForm(input_bits=8, input_scale=None, output_bits=8, output_scale=2.0**7),
            "QTanh": None,
        },
        look_up=None,
        output_bits=(8, 32),
        linear_output_bits=(8, 16, 32),
        exact_output_bits={"QLinear": (8, 32), "QConv1d": (8, 32)},
        linear_weight_bits=(8,),
        softmax_length=2048,
        scratch={},
        lstm_overhang=0,
        softmax_workspace=4,
        conv_workspace=None,
        platform_quant=PlatformQuant.wanted_in_vain,
        missing_operators=frozenset(
            {"QConv1d", "QConv2d", "QConvTranspose2d", "QLinear", "QLSTM", "QAvgPool2d", "MaxPool", "QSoftmax"}
        ),
        own_operators=frozenset(),
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

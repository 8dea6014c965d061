"""Hypothesis strategies: quantizer descriptions and the tensors that try them."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from linger_jax.config import ActivationType, Compat, QatMethod, QuantMethod, RoundMode
from linger_jax.quantizers import QuantizerKind, QuantizerSpec

SHAPE = (3, 8)

_anything = st.floats(-1e9, 1e9, width=32)
_usual = st.floats(-16, 16, width=32)
_ties = st.integers(-300, 300).map(lambda k: (k + 0.5) / 32)
_beside_ties = st.builds(
    lambda k, up: float(np.nextafter(np.float32((k + 0.5) / 32), np.float32(np.inf if up else -np.inf))),
    st.integers(-300, 300),
    st.booleans(),
)
_special = st.sampled_from(
    [0.0, -0.0, 1e-40, -1e-40, 1e-30, -1e-30, 127 / 32, -128 / 32, 0.49999997, -0.5, 2.0**23 + 1]
)

values = st.one_of(_usual, _ties, _beside_ties, _special, _anything)
tensors = hnp.arrays(np.float32, SHAPE, elements=values, fill=_usual)
cotangents = hnp.arrays(np.float32, SHAPE, elements=st.floats(-2, 2, width=32), fill=st.just(1.0))
thresholds = st.one_of(
    st.floats(-20, 40, width=32), st.integers(-20, 35).map(lambda k: k + 0.5), st.integers(-20, 35).map(float)
)
scales = st.integers(-3, 27).map(lambda e: float(2.0**e))


def _spec(kind: str, bits: int, mode: str, method: str, rules: str, relu: bool = False) -> QuantizerSpec:
    return QuantizerSpec(
        kind=QuantizerKind(kind),
        bits=bits,
        round_mode=RoundMode(mode),
        qat_method=QatMethod(method),
        quant_method=QuantMethod(rules),
        activation_type=ActivationType.Relu if relu else ActivationType.none,
    )


MOM_SPECS = [
    _spec("activation", 8, "floor_add", "MOM", "NATIVE"),
    _spec("activation", 16, "round", "MOM", "NATIVE", relu=True),
    _spec("weight", 4, "floor_add", "MOM", "NATIVE"),
    _spec("weight", 8, "floor_add", "MOM", "CUDA"),
]
TQT_SPECS = [
    _spec("activation", 8, "floor", "TQT", "NATIVE"),
    _spec("weight", 4, "floor_add", "TQT", "NATIVE"),
    _spec("activation", 16, "floor_add", "TQT", "CUDA"),
    _spec("weight", 8, "floor_add", "TQT", "CUDA_GS"),
]
BIAS_SPECS = [
    dataclasses.replace(_spec("bias", 32, "floor_add", "TQT", rules), compat=compat)
    for rules, compat in [
        ("NATIVE", Compat.chip),
        ("CUDA", Compat.chip),
        ("CUDA_GS", Compat.chip),
        ("CUDA_GS", Compat.reference),
    ]
]
"""A handful of descriptions: each is compiled once and then tried with many tensors."""

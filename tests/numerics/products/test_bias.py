"""A bias in integers, and the largest scale of the weight beside it (docs/decisions.md D27)."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linger_jax.numerics.products import bias_steps, largest_weight_scale

MAGNITUDES = st.floats(2.0**-40, 2.0**40, width=32)


@given(
    st.lists(MAGNITUDES, min_size=3, max_size=3), st.integers(0, 23), st.sampled_from([8, 16, 32]), st.integers(0, 1)
)
def test_the_largest_scale_leaves_room_and_the_next_would_not(bias, unit, bits, spare):
    scale = float(largest_weight_scale(np.array(bias, np.float32), np.float32(2.0**unit), bits, spare_bits=spare))
    room = 2.0 ** (bits - 1 - spare)
    largest = max(bias) * 2.0**unit
    assert np.log2(scale) in range(24)
    assert largest * scale < room or scale == 1
    assert 2 * largest * scale >= room or scale == 2.0**23


@pytest.mark.parametrize(("bias", "scale"), [(0.0, 2.0**23), (1e-30, 2.0**23), (3e38, 1.0), (np.inf, 1.0)])
def test_zero_bounds_nothing_and_the_largest_numbers_leave_one(bias, scale):
    found = largest_weight_scale(np.full(2, bias, np.float32), np.float32(2.0**23), 32, spare_bits=1)
    assert float(found) == scale


def test_steps_saturate_at_the_width_and_never_turn_their_sign():
    bias = np.array([3e9, -3e9, 2.0**31, 1.5, -1.5, 0.0], np.float32)
    assert bias_steps(bias, jnp.float32(1), 32).tolist() == [2**31 - 1, -(2**31), 2**31 - 1, 1, -2, 0]
    assert bias_steps(bias, jnp.float32(4), 8).tolist() == [127, -128, 127, 6, -6, 0]

"""What the integer path of an average pool divides by."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linger_jax
from linger_jax.plan.recognize.pool_window import Window, integer_divisor


def _counts(*cells):
    along_height, along_width = (np.asarray(c, np.int64) for c in cells)
    return (along_height[:, None] * along_width[None, :])[None, ..., None]


CEIL = Window((3, 3), (2, 2), ((1, 2), (1, 2)))


@pytest.mark.parametrize(
    ("case", "window", "plane", "count", "wanted"),
    [
        ("a scalar stays", CEIL, (8, 8), np.asarray(9), 9),
        (
            "an overhang beyond counted padding divides by the area",
            CEIL,
            (8, 8),
            _counts([3, 3, 3, 3, 2], [3] * 4 + [2]),
            9,
        ),
        ("valid cells stay", CEIL, (8, 8), _counts([2, 3, 3, 3, 1], [2, 3, 3, 3, 1]), None),
        ("any other count stays", CEIL, (8, 8), _counts([3, 3, 3, 3, 1], [3] * 4 + [2]), None),
        (
            "without padding an overhang is a count of valid cells",
            Window((3, 3), (2, 2), ((0, 1), (0, 1))),
            (8, 8),
            _counts([3, 3, 3, 2], [3, 3, 3, 2]),
            None,
        ),
    ],
)
def test_the_integer_divisor(case, window, plane, count, wanted):
    got = integer_divisor(window, plane, count)
    np.testing.assert_array_equal(got, count if wanted is None else wanted, err_msg=case)


class CeilPool(nn.Module):
    """PyTorch's AvgPool2d(3, 2, padding=1, ceil_mode=True) on an 8x8 plane."""

    @nn.compact
    def __call__(self, x):
        counts = _counts([3, 3, 3, 3, 2], [3, 3, 3, 3, 2]).astype(np.float32)
        window = (1, 3, 3, 1)
        return lax.reduce_window(x, 0.0, lax.add, window, (1, 2, 2, 1), ((0, 0), (1, 2), (1, 2), (0, 0))) / counts


@pytest.mark.model
def test_the_chip_divides_an_overhanging_window_by_its_whole_area():
    x = jnp.ones((1, 8, 8, 1), jnp.float32)
    qmodel = linger_jax.init(CeilPool(), {"platform": "jupiter"})
    variables = qmodel.adopt({}, x)
    y, _ = qmodel.apply(variables, x, mutable=["quant"])
    assert jax.tree.leaves(CeilPool().apply({}, x))[0][0, 4, 4, 0] == 1 / 4
    assert abs(float(y[0, 4, 4, 0]) - 1 / 9) <= 1 / 127
    assert abs(float(y[0, 1, 1, 0]) - 1) <= 1 / 64

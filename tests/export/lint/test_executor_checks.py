"""What the executor computes otherwise, or never ends, in files of anybody.

Source: docs/specification/executor.md section 3.
"""

import numpy as np
import pytest

import linger_jax
from tests.export.lint.files import File

SHAPE = (1, 6, 8)
BOTH = pytest.mark.parametrize("platform", ["arcs", "venusA"])


def function(platform, op, shape=SHAPE, **attributes):
    file = File(platform)
    return file.done(file.quantized(op, [file.linear(file.input(shape), 8, shape[-1])], **attributes))


def added(platform, x, y, o=16.0, *, constant=True, first=False):
    file = File(platform)
    data = file.linear(file.input(SHAPE), scale_o=x)
    other = file.constant(np.ones(SHAPE, np.int8)) if constant else file.linear(file.input(SHAPE), scale_o=y)
    operands, scales = ([other, data], (y, x)) if first else ([data, other], (x, y))
    return file.done(file.both("QAdd", *operands, scale_x=scales[0], scale_y=scales[1], scale_o=o), scale=o)


def found(model, check):
    return [(f.severity.value, f.found, f.edit) for f in linger_jax.check_onnx(model).findings if f.check == check]


def test_softmax_of_three_axes_is_misread_on_arcs_unless_its_axis_is_counted_from_behind():
    wrong = [("differs", "axis 2", "softmax_axis_minus_one")]
    assert found(function("arcs", "QSoftmax", axis=2), "function axis") == wrong
    assert found(function("venusA", "QSoftmax", axis=2), "function axis") == []
    assert found(function("arcs", "QSoftmax", axis=-1), "function axis") == []
    assert found(function("arcs", "QSoftmax", (1, 8), axis=1), "function axis") == []


@BOTH
@pytest.mark.parametrize("axis", [1, -2])
def test_softmax_along_another_axis_than_the_last_differs(platform, axis):
    wrong = [("differs", f"axis {axis} of 3 axes", "function_of_last_axis")]
    assert found(function(platform, "QSoftmax", axis=axis), "function axis") == wrong


def test_glu_along_another_axis_than_the_last_differs():
    wrong = [("differs", "dim 1 of 3 axes", "function_of_last_axis")]
    assert found(function("venusA", "GluInt", dim=1), "function axis") == wrong
    assert found(function("venusA", "GluInt", dim=2), "function axis") == []


@BOTH
@pytest.mark.parametrize("first", [False, True], ids=["behind", "in front"])
def test_a_constant_that_is_added_where_nothing_is_shifted_hangs(platform, first):
    hangs = ("differs", "a constant operand at the scale of everything else, 16", "constant_finer_than_sum")
    assert found(added(platform, 16.0, 16.0, first=first), "addition") == [hangs]
    assert found(added(platform, 16.0, 32.0, first=first), "addition") == []
    assert found(added(platform, 32.0, 16.0, first=first), "addition") == []
    assert found(added(platform, 16.0, 16.0, constant=False), "addition") == []


@BOTH
@pytest.mark.parametrize("scales", [(8.0, 16.0), (16.0, 8.0)])
def test_an_operand_of_an_addition_that_is_coarser_than_the_result_differs(platform, scales):
    (finding,) = found(added(platform, *scales, constant=False), "addition")
    assert finding[0] == "differs"

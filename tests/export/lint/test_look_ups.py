"""Look-ups of computed indices, and other grids, in files of anybody (docs/specification/executor.md section 3)."""

import numpy as np
import pytest

import linger_jax
from tests.export.lint.files import SCALE, File


def look_up(platform, elements, bits=32, table=np.int8):
    """A table that is read by what a linear layer computes."""
    file = File(platform)
    index = file.linear(file.input((1, 8)), 8, elements, o_bits=bits)
    stored = file.constant(np.zeros(256, table))
    attributes = {"scale_w": SCALE, "w_bits": 8 * np.dtype(table).itemsize, "platform": platform}
    return file.done(file.node("Gather", [stored, index], **attributes))


def found(model, check):
    return [(f.severity.value, f.found, f.edit) for f in linger_jax.check_onnx(model).findings if f.check == check]


@pytest.mark.parametrize(("platform", "most"), [("arcs", 16384), ("venusA", 16384), ("venus", 8192)])
def test_a_look_up_has_as_many_elements_as_were_measured(platform, most):
    assert found(look_up(platform, most), "look-up") == []
    wrong = [("differs", f"a look-up of {most + 1} elements", "function_as_table")]
    assert found(look_up(platform, most + 1), "look-up") == wrong


def test_an_index_has_32_bits():
    assert found(look_up("arcs", 8, bits=8), "look-up") == [("differs", "an index of 8 bits", "function_as_table")]


@pytest.mark.parametrize("table", [np.int8, np.int16, np.int32])
def test_a_table_may_hold_8_16_or_32_bits(table):
    assert found(look_up("arcs", 8, table=table), "weight width") == []


@pytest.mark.parametrize(
    ("bits", "scale", "severities"),
    [(8, 4.0, []), (32, 16.0, []), (32, 64.0, []), (16, 4096.0, []), (32, 8.0, ["differs"]), (16, 8192.0, ["differs"])],
)
def test_a_requant_to_a_wider_integer_only_shifts_left_and_wraps(bits, scale, severities):
    file = File("venusA")
    y = file.node(
        "Requant", [file.linear(file.input((1, 8)))], scale_x=SCALE, scale_o=scale, data_bits=bits, o_bits=bits
    )
    assert [severity for severity, _, _ in found(file.done(y, scale), "other grid")] == severities


@pytest.mark.parametrize(("finer", "severities"), [(64, []), (128, ["differs"])])
def test_a_requant_of_8_bits_goes_6_bits_to_the_left(finer, severities):
    file = File("arcs")
    y = file.node(
        "Requant", [file.linear(file.input((1, 8)))], scale_x=SCALE, scale_o=SCALE * finer, data_bits=8, o_bits=8
    )
    assert [severity for severity, _, _ in found(file.done(y, SCALE * finer), "other grid")] == severities


def test_a_requant_reads_8_bits():
    file = File("arcs")
    wide = file.linear(file.input((1, 8)), o_bits=32)
    y = file.node("Requant", [wide], scale_x=SCALE, scale_o=SCALE, data_bits=32, o_bits=32)
    assert found(file.done(y), "other grid") == [("differs", "a 32-bit input", "")]


def test_a_sigmoid_s_results_lie_where_the_executor_puts_them():
    for scale, wrong in ((128.0, []), (64.0, [("differs", "scale_o 64", "function_as_table")])):
        file = File("arcs")
        y = file.quantized("QSigmoid", [file.linear(file.input((1, 8)))], scale_o=scale)
        assert found(file.done(y, scale), "sigmoid width") == wrong

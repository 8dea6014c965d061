"""Results of more bits than evaluation keeps (docs/specification/onnx_export.md section 3)."""

import pytest

import linger_jax
from tests.export.lint.files import File


def wide(model):
    return [(f.severity.value, f.found) for f in linger_jax.check_onnx(model).findings if f.check == "wide result"]


def linear(features, scale_o=16.0 * 64.0):
    """Weights and biases of one, operands of at most 128 steps; results on the grid of the products."""
    file = File("arcs")
    return file.done(file.linear(file.input((1, features)), features, 4, o_bits=32, scale_o=scale_o), scale=scale_o)


@pytest.mark.parametrize(
    ("scale_o", "told"), [(1024.0, []), (2.0**24, [("differs", "32-bit results of up to 1.68e+07 steps")])]
)
def test_sums_of_stored_weights_are_as_large_as_they_can_get(scale_o, told):
    # 8 weights of 1 and a bias of 1: (8 * 128 + 1) * scale_o / 1024
    assert wide(linear(8, scale_o)) == told


def added(operand_bits):
    file = File("arcs")
    one, other = (
        file.quantized("Requant", [file.input((1, 8), name=name)], data_bits=32, o_bits=32, scale_o=scale)
        if operand_bits == 8
        else file.input((1, 8), scale, 32, name=name)
        for name, scale in (("a", 32.0), ("b", 32.0))
    )
    scales = {"scale_x": 32.0, "scale_y": 32.0, "scale_o": 32.0, "x_bits": 32, "y_bits": 32, "o_bits": 32}
    return file.done(file.both("QAdd", one, other, **scales), scale=32.0)


def test_what_was_8_bits_stays_small_and_what_fills_32_bits_differs():
    assert wide(added(8)) == []
    assert wide(added(32)) == [("differs", "32-bit results of up to 2.15e+09 steps")]


def test_of_24_bits_every_result_is_exact():
    file = File("arcs")
    assert wide(file.done(file.linear(file.input((1, 8)), o_bits=24, scale_o=2.0**30), scale=2.0**30)) == []

"""Replays formulas of the executor through the integer forms of operators.

Each formula is the operator that it stands for, not the form in which a file spells it
(docs/specification/executor.md sections 3 to 5).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.config import Compat, Platform, RoundMode
from linger_jax.export.onnx import FileNode
from linger_jax.export.onnx.file_dialect import EXECUTOR_FILES
from linger_jax.export.runner.integer_tensor import IntegerTensor
from linger_jax.export.runner.operators import Call, run_node
from linger_jax.kinds import OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import chip_kernels
from linger_jax.numerics.look_up import function_table
from linger_jax.plan import semantics
from tests.golden.case import Case
from tests.golden.outcome import NotSupportedError

Integers = np.ndarray


@dataclasses.dataclass(frozen=True)
class Measured:
    """One case of a formula.

    Attributes:
      platform: the chip.
      of: its exponents and shapes.
      given, parameters, wanted: arrays by name.
    """

    platform: str
    of: Mapping[str, Any]
    given: Mapping[str, Integers]
    parameters: Mapping[str, Integers]
    wanted: Mapping[str, Integers]

    def at(self, name: str, exponent: int, bits: int | None = None) -> IntegerTensor:
        """An input or a parameter on its grid."""
        values = self.given[name] if name in self.given else self.parameters[name]
        return tensor(values, exponent, 8 * values.itemsize if bits is None else bits)

    def run(
        self, operator: OnnxOperator, operands: Sequence[Any], exponent: int | None = None, bits: int = 8, **others: Any
    ) -> list[Any]:
        """Results of an operator, on a grid of its own where an exponent is given.

        Args:
          operator: the operator.
          operands: tensors on their grids, parameters as plain integers, None where one is left out.
          exponent, bits: of the result.
          **others: attributes.
        """
        attributes: dict[str, Any] = {"platform": self.platform, "quant_mode": "floor_add", **others}
        if exponent is not None:
            attributes |= {"scale_o": 2.0**exponent, "o_bits": bits}
        for letter, operand in zip("xy", operands, strict=False):
            if isinstance(operand, IntegerTensor):
                attributes |= {f"scale_{letter}": operand.scale, f"{letter}_bits": operand.bits}
        names = tuple("" if operand is None else str(i) for i, operand in enumerate(operands))
        node = FileNode(self.of["formula"], str(operator), names, ("y",), attributes)
        return list(run_node(operator, Call(node, tuple(operands), semantics(Compat.chip), EXECUTOR_FILES)))


def tensor(values: Any, exponent: int, bits: int = 8) -> IntegerTensor:
    """Integers on a grid."""
    return IntegerTensor(jnp.asarray(values, jnp.int32), 2.0**exponent, bits)


Formula = Callable[[Measured], Mapping[str, Any]]


def replay(case: Case) -> list[str]:
    """Mismatches of all cases of one formula on one platform.

    Raises:
      NotSupportedError: the formula is of no operator here.
    """
    formula = _FORMULAS.get(case.meta["formula"])
    if formula is None:
        raise NotSupportedError(f"{case.meta['formula']} is no operator of linger_jax")
    wrong: list[str] = []
    for number, one in enumerate(measured(case)):
        got = jax.jit(lambda one=one: {k: _integers(v) for k, v in formula(one).items()})()
        for name, wanted in one.wanted.items():
            found = np.asarray(got[name]).reshape(-1)
            count = int(np.sum(found != wanted.reshape(-1))) if found.size == wanted.size else wanted.size
            if count:
                wrong.append(f"case {number:03} {name}: {count} of {wanted.size} integers differ ({dict(one.of)})")
    return wrong


def measured(case: Case) -> Iterator[Measured]:
    """The cases in a file."""
    for number, of in enumerate(case.meta["cases"]):
        groups = {group: case.group(f"{number:03}.{group}") for group in ("in", "param", "out")}
        of = {**of, "formula": case.meta["formula"]}
        yield Measured(case.meta["platform"], of, groups["in"], groups["param"], groups["out"])


def _integers(value: Any) -> Any:
    return value.value if isinstance(value, IntegerTensor) else value


# --- element by element ---------------------------------------------------------------------------------------------


def _requant(m: Measured) -> Mapping[str, Any]:
    bits = 8 * m.wanted["y"].itemsize
    return {"y": m.run(ops.REQUANT, [m.at("x", m.of["qx"])], m.of["qo"], bits)[0]}


def _of_two(operator: OnnxOperator) -> Formula:
    def formula(m: Measured) -> Mapping[str, Any]:
        bits = 8 * m.wanted["y"].itemsize
        return {"y": m.run(operator, [m.at("a", m.of["qa"]), m.at("b", m.of["qb"])], m.of["qo"], bits)[0]}

    return formula


def _negate(m: Measured) -> Mapping[str, Any]:
    return {"y": m.run(ops.QMUL, [m.at("x", m.of["q"]), tensor(-64, 6)], m.of["q"])[0]}


def _clip(m: Measured) -> Mapping[str, Any]:
    bounds = [np.asarray(bound * 2.0 ** -m.of["q"], np.float32) for bound in (0, m.of["k"])]
    return {"y": m.run(ops.CLIP, [m.at("x", m.of["q"]), *bounds])[0]}


def _table(m: Measured) -> Mapping[str, Any]:
    table = m.parameters["table"]
    index = tensor(m.given["x"].astype(np.int32) + 128, 0, 32)
    grid = {"scale_w": 2.0 ** m.of["qo"], "w_bits": 8 * table.itemsize}
    return {"y": m.run(ops.TABLE_GATHER, [table, index], **grid)[0]}


def _leaky_relu(m: Measured) -> Mapping[str, Any]:
    """The slope m / 128 of negative numbers, as a table of the float function."""
    function = function_table(lambda x: np.where(x >= 0, x, x * (m.of["m"] / 128)))
    exponent = m.of["q"]
    results = function.integers(exponent, 2.0**exponent, 8, RoundMode.floor_add)
    return {"y": m.run(ops.QTABLE, [m.at("x", exponent), results], exponent)[0]}


# --- functions of the chip ------------------------------------------------------------------------------------------


def _sigmoid(m: Measured) -> Mapping[str, Any]:
    return {"y": m.run(ops.QSIGMOID, [m.at("x", m.of["qx"])], 7)[0]}


def _tanh(m: Measured) -> Mapping[str, Any]:
    return {"y": m.run(ops.QTANH, [m.at("x", m.of["qx"])], 7)[0]}


def _glu(m: Measured) -> Mapping[str, Any]:
    return _gated(m, m.given["x"], m.of["qo"])


def _sigmoid_by_glu(m: Measured) -> Mapping[str, Any]:
    x = m.given["x"].astype(np.int32)
    return _gated(m, np.concatenate([np.full_like(x, 2 ** m.of["qx"]), x], -1), 7)


def _silu(m: Measured) -> Mapping[str, Any]:
    if m.platform == Platform.venusA.value:
        return _gated(m, np.concatenate([m.given["x"]] * 2, -1), m.of["qo"])
    return {"y": m.run(ops.QMUL, [m.at("x", m.of["qx"]), _sigmoid(m)["y"]], m.of["qo"])[0]}


def _gated(m: Measured, x: Integers, exponent: int) -> Mapping[str, Any]:
    return {"y": m.run(ops.QGLU, [tensor(x, m.of["qx"])], exponent, dim=x.ndim - 1)[0]}


def _softmax(m: Measured) -> Mapping[str, Any]:
    bits = 8 * m.wanted["y"].itemsize
    return {"y": m.run(ops.QSOFTMAX, [m.at("x", m.of["qx"])], m.of["qo"], bits, axis=-1)[0]}


def _tanh_of_product(m: Measured) -> Mapping[str, Any]:
    x, weight, bias = (v.astype(np.int64) for v in (m.given["x"], m.parameters["weight"], m.parameters["bias"]))
    total = np.clip(x @ weight.T + bias, -(2**31), 2**31 - 1)
    shift = m.of["qx"] + m.of["qw"] - 27
    moved = (total + 2 ** (shift - 1)) >> shift if shift > 0 else total << -shift
    whole = jnp.asarray(np.clip(moved, -(2**31), 2**31 - 1).astype(np.int32))
    return {"y": chip_kernels.tanh(whole, Platform(m.platform), 7)}


def _layer_norm(m: Measured) -> Mapping[str, Any]:
    operands = [m.at("x", m.of["qx"]), m.parameters["gamma"], m.parameters["beta"]]
    return {"y": m.run(ops.LAYER_NORM_INT, operands, m.of["qo"], w_bits=8, scale_w=2.0 ** m.of["qw"])[0]}


def _gru(m: Measured) -> Mapping[str, Any]:
    x = m.given["x"]
    names, first = ("w_ih", "w_hh", "b_ih", "b_hh"), m.of["batch_first"]
    operands = [tensor(x[None] if first else x[:, None], m.of["qx"]), *(m.parameters[name].T for name in names)]
    grids = {"w_bits": 8, "scale_iw": 2.0 ** m.of["label_iw"], "scale_hw": 2.0 ** m.of["label_hw"]}
    return {"y": m.run(ops.QGRU, operands, m.of["qo"], batch_first=first, **grids)[0]}


def _lstm(m: Measured) -> Mapping[str, Any]:
    x = tensor(m.given["x"][None, : m.of["length"]], m.of["qx"])
    names = ("w_ih", "w_hh", "b_ih", "b_hh")
    states = [
        jnp.asarray(m.given[name].reshape(1, 1, -1).astype(np.float32) / np.float32(2.0**exponent))
        for name, exponent in (("h0", m.of["qh"]), ("c0", 15))
        if name in m.given
    ]
    grids = {"w_bits": 8, "scale_iw": 2.0 ** m.of["qiw"], "scale_hw": 2.0 ** m.of["qhw"], "scale_h": 2.0 ** m.of["qh"]}
    has = {"has_hidden": int(bool(states)), "has_cell": int(bool(states)), "batch_first": 0}
    hidden = m.parameters["w_hh"].shape[1]
    y, h, c = m.run(
        *(ops.QLSTM, [x, *states, *(m.parameters[name] for name in names)], m.of["qh"]),
        **(grids | has | {"go_forward": 1 - m.of["reverse"], "hidden_size": hidden}),
    )
    return {"y": y, "h": h, "c": c}


# --- products -------------------------------------------------------------------------------------------------------


def _linear(m: Measured) -> Mapping[str, Any]:
    bits = {"w_bits": 4 if m.of["formula"] == "linear_4bit" else 8, "scale_w": 2.0 ** m.of["qw"]}
    operands = [m.at("x", m.of["qx"]), m.parameters["weight"], m.parameters.get("bias")]
    return {"y": m.run(ops.QLINEAR, operands, m.of["qo"], 8 * m.wanted["y"].itemsize, **bits)[0]}


def _convolution(m: Measured, operator: OnnxOperator, **window: Any) -> Any:
    operands = [m.at("x", m.of["qx"]), m.parameters["weight"], m.parameters.get("bias")]
    grid = {"w_bits": 8, "scale_w": 2.0 ** m.of["qw"]}
    y = m.run(operator, operands, m.of["qo"], 8 * m.wanted["y"].itemsize, **grid, **window)[0]
    return m.run(ops.RELU, [y])[0] if m.of.get("relu") else y


def _conv2d(m: Measured) -> Mapping[str, Any]:
    return {"y": _convolution(m, ops.QCONV2D, **{k: m.of[k] for k in ("strides", "pads", "dilations", "group")})}


def _conv1d(m: Measured) -> Mapping[str, Any]:
    window = {"strides": [m.of["stride"]], "pads": m.of["pads"], "dilations": [1], "group": m.of.get("group", 1)}
    return {"y": _convolution(m, ops.QCONV1D, **window)}


def _causal_conv(m: Measured) -> Mapping[str, Any]:
    dilation = m.of["dilation"]
    before = (m.parameters["weight"].shape[-1] - 1) * dilation
    return {"y": _convolution(m, ops.QCONV1D, strides=[1], pads=[before, 0], dilations=[dilation], group=1)}


def _conv_relu6(m: Measured) -> Mapping[str, Any]:
    size = m.parameters["weight"].shape[-1] // 2
    y = _convolution(m, ops.QCONV2D, strides=[1, 1], pads=[size] * 4, dilations=[1, 1], group=1)
    return {"y": jnp.clip(y.value, 0, m.of["k"])}


def _deconv2d(m: Measured) -> Mapping[str, Any]:
    window = {k: m.of[k] for k in ("strides", "pads", "output_padding")}
    return {"y": _convolution(m, ops.QCONV_TRANSPOSE2D, dilations=[1, 1], group=1, **window)}


def _affine_channel(m: Measured) -> Mapping[str, Any]:
    return {"y": _convolution(m, ops.QBATCH_NORM2D)}


# --- windows and moves ----------------------------------------------------------------------------------------------


def _average(m: Measured) -> Mapping[str, Any]:
    kernel = m.of["kernel"]
    window = {"kernel_shape": kernel, "strides": m.of.get("strides", kernel), "pads": m.of.get("pads", [0] * 4)}
    return {"y": m.run(ops.QAVG_POOL2D, [m.at("x", m.of["q"])], m.of["q"], count_include_pad=1, **window)[0]}


def _maximum(m: Measured) -> Mapping[str, Any]:
    window = {"kernel_shape": m.of["kernel"], "strides": m.of["strides"], "pads": m.of["pads"]}
    return {"y": m.run(ops.MAX_POOL, [m.at("x", 0)], **window)[0]}


def _largest(m: Measured) -> Mapping[str, Any]:
    x = m.at("x", 0)
    (index,) = m.run(ops.ARG_MAX, [x], axis=x.value.ndim - 1, keepdims=0)
    return {"y": jnp.stack([jnp.max(x.value, -1).reshape(-1), index.reshape(-1)])}


def _transpose(m: Measured) -> Mapping[str, Any]:
    return {"y": m.run(ops.TRANSPOSE, [m.at("x", 0)], perm=m.of["perm"])[0]}


def _gather(m: Measured) -> Mapping[str, Any]:
    return {"y": m.run(ops.GATHER, [m.at("x", m.of["q"]), m.parameters["index"]], axis=m.of["axis"])[0]}


def _concatenation(m: Measured) -> Mapping[str, Any]:
    parts = [m.at(f"x{i}", exponent) for i, exponent in enumerate(m.of["q"])]
    grids: dict[str, Any] = {"axis": m.of["axis"]}
    for i, part in enumerate(parts):
        grids |= {f"scale_x_{i}": part.scale, f"x_{i}_bits": part.bits}
    return {"y": m.run(ops.QCAT, parts, m.of["qo"], 8 * m.wanted["y"].itemsize, **grids)[0]}


def _padding(m: Measured) -> Mapping[str, Any]:
    x = m.at("x", m.of["q"])
    others = [0] * (x.value.ndim - 1)
    amounts = np.array([*others, m.of["before"], *others, m.of["after"]], np.int64)
    return {"y": m.run(ops.PAD, [x, amounts], mode="constant")[0]}


_FORMULAS: Mapping[str, Formula] = {
    **{"requant": _requant, "add": _of_two(ops.QADD), "mul": _of_two(ops.QMUL), "bmm": _of_two(ops.QBMM)},
    **{"negate": _negate, "clip_by_conv": _clip, "lut": _table, "lut_by_linear": _table, "leaky_relu": _leaky_relu},
    **{"sigmoid": _sigmoid, "sigmoid_venus": _sigmoid, "tanh_venus": _tanh, "glu": _glu, "silu": _silu},
    **{"sigmoid_by_glu": _sigmoid_by_glu, "softmax": _softmax, "tanh_by_gru": _tanh_of_product},
    **{
        "layernorm": _layer_norm,
        "gru": _gru,
        "lstm": _lstm,
        "linear": _linear,
        "linear_4bit": _linear,
        "linear_as_conv": _linear,
    },
    **{"conv2d": _conv2d, "conv_as_deconv": _conv2d, "strided_conv_as_two": _conv2d, "conv1d": _conv1d},
    **{"causal_conv": _causal_conv, "conv_relu6": _conv_relu6, "deconv2d": _deconv2d},
    **{"affine_channel": _affine_channel, "avgpool": _average, "global_avgpool": _average, "maxpool": _maximum},
    **{"argmax": _largest, "transpose": _transpose, "gather": _gather, "cat": _concatenation, "pad_by_cat": _padding},
}

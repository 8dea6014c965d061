"""Every way of writing an operator that the plan knows, each a tiny function of one quantized value.

A case is the operand's shape, the function, and the rows that its nodes make in the plan, as ``(operator, status)``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

VECTOR, SEQUENCE, IMAGE = (2, 4), (2, 6, 4), (2, 6, 6, 4)


@dataclasses.dataclass(frozen=True)
class Case:
    """One spelling; ``rows`` leaves out the layer that makes the operand."""

    function: Callable[[Any], Any]
    rows: tuple[tuple[str, str], ...]
    shape: tuple[int, ...] = VECTOR


def _quantized(function: Callable[[Any], Any], op: str, shape: tuple[int, ...] = VECTOR) -> Case:
    return Case(function, ((op, "quantized"),), shape)


def _table(function: Callable[[Any], Any], *more: tuple[str, str], shape: tuple[int, ...] = VECTOR) -> Case:
    return Case(function, (("table", "quantized"), *more), shape)


def _passes(function: Callable[[Any], Any], op: str, shape: tuple[int, ...] = VECTOR) -> Case:
    return Case(function, ((op, "passes"),), shape)


def _float(function: Callable[[Any], Any], *ops: str, shape: tuple[int, ...] = VECTOR) -> Case:
    return Case(function, tuple((op, "float") for op in ops), shape)


def _moves(function: Callable[[Any], Any], shape: tuple[int, ...] = VECTOR) -> Case:
    return Case(function, (), shape)


ACTIVATIONS = {
    "nn.relu": _passes(nn.relu, "relu"),
    "jax.nn.relu": _passes(jax.nn.relu, "relu"),
    "maximum(x, 0)": _passes(lambda x: jnp.maximum(x, 0), "relu"),
    "maximum(0, x)": _passes(lambda x: jnp.maximum(0, x), "relu"),
    "maximum(x, 0.0)": _passes(lambda x: jnp.maximum(x, 0.0), "relu"),
    "lax.max": _passes(lambda x: jax.lax.max(x, 0.0), "relu"),
    "relu6": _passes(jax.nn.relu6, "relu6"),
    "maximum(x, 1)": _table(lambda x: jnp.maximum(x, 1)),
    "silu": _quantized(jax.nn.silu, "silu"),
    "log_softmax": _float(jax.nn.log_softmax, "log_softmax"),
    "elu": _table(jax.nn.elu),
    "hard_swish": _table(jax.nn.hard_swish),
    "hard_sigmoid": _table(jax.nn.hard_sigmoid),
    "leaky_relu": _table(jax.nn.leaky_relu),
    "glu": _quantized(jax.nn.glu, "glu"),
    "glu over another axis": _quantized(lambda x: jax.nn.glu(x, axis=1), "glu", IMAGE),
    "sigmoid": _quantized(jax.nn.sigmoid, "logistic"),
    "tanh": _quantized(jnp.tanh, "tanh"),
    "gelu, tanh form": _quantized(jax.nn.gelu, "gelu"),
    "gelu, erf form": _quantized(lambda x: jax.nn.gelu(x, approximate=False), "gelu"),
    "nn.swish": _quantized(nn.swish, "silu"),
    "x * sigmoid(x)": Case(lambda x: x * jax.nn.sigmoid(x), (("logistic", "quantized"), ("mul", "quantized"))),
    "lax.logistic": _quantized(jax.lax.logistic, "logistic"),
    "expit": _quantized(jax.scipy.special.expit, "logistic"),
    "nn.tanh": _quantized(nn.tanh, "tanh"),
    "nn.softmax": _quantized(nn.softmax, "softmax"),
    "softmax with where": _float(
        lambda x: jax.nn.softmax(x, where=np.array([[True, False, True, True]] * 2)), "select_n", "select_n"
    ),
    "clip": _table(lambda x: jnp.clip(x, 0, 6)),
    "where": _table(lambda x: jnp.where(x > 0, x, 0.0)),
    **{
        f"softmax, axis {axis} of {len(shape)}": _quantized(
            lambda x, axis=axis: jax.nn.softmax(x, axis=axis), "softmax", shape
        )
        for shape in (VECTOR, IMAGE)
        for axis in (*range(len(shape)), -1)
    },
    "softmax over two axes": _float(lambda x: jax.nn.softmax(x, axis=(0, 1)), "reduce_max", "sub"),
}

POOLS = {
    "max_pool": _passes(lambda x: nn.max_pool(x, (2, 2), (2, 2)), "max_pool", IMAGE),
    "max_pool, SAME": _passes(lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME"), "max_pool", IMAGE),
    "max_pool of a sequence": _passes(lambda x: nn.max_pool(x, (2,), (2,)), "max_pool", SEQUENCE),
    "avg_pool": _quantized(lambda x: nn.avg_pool(x, (2, 2), (2, 2)), "avg_pool", IMAGE),
    "avg_pool, SAME": _quantized(lambda x: nn.avg_pool(x, (3, 3), (2, 2), "SAME"), "avg_pool", IMAGE),
    "avg_pool without padding in the count": _quantized(
        lambda x: nn.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False), "avg_pool", IMAGE
    ),
    "avg_pool of a sequence": _quantized(lambda x: nn.avg_pool(x, (2,), (2,)), "avg_pool", SEQUENCE),
    "mean over the plane": _quantized(lambda x: jnp.mean(x, (1, 2)), "avg_pool", IMAGE),
    "mean over the plane, axes swapped": _quantized(lambda x: x.mean((2, 1)), "avg_pool", IMAGE),
    "mean over the plane, keepdims": _quantized(lambda x: x.mean((1, 2), keepdims=True), "avg_pool", IMAGE),
    "mean over time": _quantized(lambda x: x.mean(1), "avg_pool", SEQUENCE),
    "sum over the plane by its size": _quantized(lambda x: x.sum((1, 2)) / 36.0, "avg_pool", IMAGE),
    "mean over channels": _float(lambda x: x.mean(-1), "reduce_sum", shape=IMAGE),
    "mean over the batch": _float(lambda x: x.mean(0), "reduce_sum", shape=IMAGE),
    "mean over one of two axes": _float(lambda x: x.mean(1), "reduce_sum", shape=IMAGE),
    "mean of everything": _float(jnp.mean, "reduce_sum", shape=IMAGE),
    "masked mean": _float(
        lambda x: jnp.mean(x, (1, 2), where=np.arange(36).reshape(1, 6, 6, 1) > 3), "select_n", shape=IMAGE
    ),
    "sum by a number that is not whole": _float(lambda x: x.sum((1, 2)) / 36.5, "reduce_sum", shape=IMAGE),
}

ARITHMETIC = {
    "x + x": _quantized(lambda x: x + x, "add"),
    "x + 1.0": _quantized(lambda x: x + 1.0, "add"),
    "1 + x": _quantized(lambda x: 1 + x, "add"),
    "jnp.add": _quantized(lambda x: jnp.add(x, x), "add"),
    "x * 2.0": _quantized(lambda x: x * 2.0, "mul"),
    "x * x": _quantized(lambda x: x * x, "mul"),
    "x * array": _quantized(lambda x: x * np.float32([[1, 2, 3, 4]]), "mul"),
    "jnp.multiply": _quantized(lambda x: jnp.multiply(x, x), "mul"),
    "outer": _quantized(lambda x: jnp.outer(x[0], x[1]), "mul"),
    "x @ y": _quantized(lambda x: x @ x.T, "dot_general"),
    "matmul": _quantized(lambda x: jnp.matmul(x, x.T), "dot_general"),
    "batched matmul": _quantized(lambda x: x @ x.transpose(0, 2, 1), "dot_general", SEQUENCE),
    "dot": _quantized(lambda x: jnp.dot(x, x.T), "dot_general"),
    "matvec": _quantized(lambda x: jnp.matvec(x, x[0]), "dot_general"),
    "vecdot": _quantized(lambda x: jnp.vecdot(x, x), "dot_general"),
    "einsum of several contracted axes": _quantized(
        lambda x: jnp.einsum("abc,dcb->ad", x, x.transpose(0, 2, 1)), "dot_general", SEQUENCE
    ),
    "attention scores": _quantized(lambda x: jnp.einsum("bqd,bkd->bqk", x, x), "dot_general", SEQUENCE),
    "einsum": _quantized(lambda x: jnp.einsum("ab,cb->ac", x, x), "dot_general"),
    "einsum of three": Case(
        lambda x: jnp.einsum("ab,cb,cd->ad", x, x, x), (("dot_general", "quantized"), ("dot_general", "quantized"))
    ),
    "tensordot": _quantized(lambda x: jnp.tensordot(x, x, axes=((1,), (1,))), "dot_general"),
    "inside a jit of the user": _quantized(jax.jit(lambda x: x + 1.0), "add"),
    "x - x": _table(lambda x: x - x),
    "-x": _table(lambda x: -x),
    "x / 2": _quantized(lambda x: x / 2.0, "mul"),
    "x / sqrt(8)": _quantized(lambda x: x / jnp.sqrt(8.0), "mul"),
    "x / array of one number": _quantized(lambda x: x / np.float32([[4, 4, 4, 4]]), "mul"),
    "x / 0": _table(lambda x: x / 0.0),
    "2 / x": _table(lambda x: 2.0 / x),
    "x / array": _float(lambda x: x / np.float32([[1, 2, 3, 4]]), "div"),
    "x ** 2": _table(lambda x: x**2),
    "square": _table(jnp.square),
    "exp": _table(jnp.exp),
    "sum": _float(lambda x: x.sum(-1), "reduce_sum"),
    "max": _float(lambda x: x.max(-1), "reduce_max"),
    "cumsum": _float(jnp.cumsum, "cumsum"),
    "variance": _float(jnp.var, "_var"),
    "at[].set": _float(lambda x: x.at[0].set(0.0), "scatter"),
    "cast to bfloat16": _float(lambda x: x.astype(jnp.bfloat16), "convert_element_type"),
    "bilinear resize": _float(lambda x: jax.image.resize(x, (2, 12, 12, 4), "bilinear"), "_resize", shape=IMAGE),
    "comparison": _moves(lambda x: x > 0),
    "argmax": _moves(jnp.argmax),
}

JOINS = {
    "concatenate of two": _quantized(lambda x: jnp.concatenate([x, x], -1), "concatenate"),
    "concatenate of three": _quantized(lambda x: jnp.concatenate([x, x, x], -1), "concatenate"),
    "stack": _quantized(lambda x: jnp.stack([x, x]), "stack"),
    "hstack": _quantized(lambda x: jnp.hstack([x, x]), "concatenate"),
    "vstack": _quantized(lambda x: jnp.vstack([x, x]), "concatenate"),
    "append": _quantized(lambda x: jnp.append(x, x), "concatenate"),
}

STRUCTURAL = {
    "reshape": _moves(lambda x: x.reshape(-1)),
    "ravel": _moves(jnp.ravel),
    "transpose": _moves(lambda x: x.T),
    "swapaxes": _moves(lambda x: jnp.swapaxes(x, 0, 1)),
    "moveaxis": _moves(lambda x: jnp.moveaxis(x, -1, 1), IMAGE),
    "squeeze": _moves(lambda x: x[:1].squeeze(0)),
    "expand_dims": _moves(lambda x: jnp.expand_dims(x, 1)),
    "broadcast_to": _moves(lambda x: jnp.broadcast_to(x[None], (3, 2, 4))),
    "x[0]": _moves(lambda x: x[0]),
    "x[:, 1:]": _moves(lambda x: x[:, 1:]),
    "x[..., ::2]": _moves(lambda x: x[..., ::2]),
    "x[::-1]": _moves(lambda x: x[::-1]),
    "x[None]": _moves(lambda x: x[None]),
    "x[indices]": _moves(lambda x: x[jnp.array([0, 1, 0])]),
    "take": _moves(lambda x: jnp.take(x, jnp.array([1, 0]), axis=1)),
    "take_along_axis": _moves(lambda x: jnp.take_along_axis(x, jnp.zeros((2, 1), jnp.int32), axis=1)),
    "dynamic_slice": _moves(lambda x: jax.lax.dynamic_slice(x, (0, 1), (2, 2))),
    "dynamic_index": _moves(lambda x: jax.lax.dynamic_index_in_dim(x, 1, axis=1)),
    "split": _moves(lambda x: jnp.split(x, 2, -1)),
    "flip": _moves(lambda x: jnp.flip(x, 1)),
    "rot90": _moves(lambda x: jnp.rot90(x, axes=(1, 2)), IMAGE),
    "roll": _moves(lambda x: jnp.roll(x, 1, axis=1)),
    "tile": _moves(lambda x: jnp.tile(x, (1, 2))),
    "repeat": _moves(lambda x: jnp.repeat(x, 2, axis=1)),
    "pad with zeros": _moves(lambda x: jnp.pad(x, ((0, 0), (1, 1)))),
    "pad by reflection": _moves(lambda x: jnp.pad(x, ((0, 0), (1, 1)), mode="reflect")),
    "pad by the edge": _moves(lambda x: jnp.pad(x, ((0, 0), (1, 1)), mode="edge")),
    "pad around": _moves(lambda x: jnp.pad(x, ((0, 0), (1, 1)), mode="wrap")),
    "pad with ones": _float(lambda x: jnp.pad(x, ((0, 0), (1, 1)), constant_values=1.0), "pad"),
    "pad with 0.3": _float(lambda x: jnp.pad(x, ((0, 0), (1, 1)), constant_values=0.3), "pad"),
    "nearest resize": _moves(lambda x: jax.image.resize(x, (2, 12, 12, 4), "nearest"), IMAGE),
    "pixel shuffle": _moves(lambda x: x.reshape(2, 6, 6, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5), IMAGE),
    "sort": _moves(jnp.sort),
    "top_k": _moves(lambda x: jax.lax.top_k(x, 2)[0]),
    "stop_gradient": _moves(jax.lax.stop_gradient),
    "copy": _moves(jnp.copy),
}

ZOO = {**ACTIVATIONS, **POOLS, **ARITHMETIC, **JOINS, **STRUCTURAL}

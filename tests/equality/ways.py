"""The ways of evaluating a model. Each function stands alone, so that its source can stand in a program."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
import tests.equality.by_hand

Arrays = list[np.ndarray]
Way = Callable[[Any, Any, Any], Any]


def apply(qmodel, variables, inputs):
    return qmodel.apply(variables, *inputs)


def jitted(qmodel, variables, inputs):
    return jax.jit(lambda *inputs: qmodel.apply(variables, *inputs))(*inputs)


def vmapped(qmodel, variables, inputs):
    def one(*sample):
        return jax.tree.map(lambda y: y[0], qmodel.apply(variables, *(x[None] for x in sample)))

    return jax.jit(jax.vmap(one))(*inputs)


def one_by_one(qmodel, variables, inputs):
    samples = [qmodel.apply(variables, *(x[i : i + 1] for x in inputs)) for i in range(len(inputs[0]))]
    return jax.tree.map(lambda *rows: np.concatenate(rows), *samples)


def integer(qmodel, variables, inputs):
    return qmodel.apply(variables, *inputs, mode="integer")


def linger_file(qmodel, variables, inputs):
    with tempfile.TemporaryDirectory() as folder:
        path = linger_jax.export_onnx(qmodel, variables, inputs, Path(folder, "model.onnx"), "linger")
        runner = linger_jax.OnnxRunner(path)
        pairs = zip(inputs, runner.inputs, strict=True)
        return runner.run([x if x.shape[1:] == tuple(e.shape)[1:] else np.moveaxis(x, -1, 1) for x, e in pairs])


def by_hand(qmodel, variables, inputs):
    with tempfile.TemporaryDirectory() as folder:
        path = linger_jax.export_onnx(qmodel, variables, inputs, Path(folder, "model.onnx"), "linger")
        pairs = zip(inputs, linger_jax.OnnxRunner(path).inputs, strict=True)
        moved = [x if x.shape[1:] == tuple(e.shape)[1:] else np.moveaxis(x, -1, 1) for x, e in pairs]
        biases, scales = {}, linger_jax.scales(variables)
        for keys, leaf in jax.tree_util.tree_flatten_with_path(variables["params"])[0]:
            names = [key.key for key in keys]
            scale = scales.get(".".join([*names[:-1], "bias_quantizer"]))
            if names[-1] == "bias" and scale is not None:
                bits = qmodel.settings.config.for_path(".".join(names[:-1])).quant_info.bias_bits
                biases[".".join(names)] = tests.equality.by_hand.Bias(np.asarray(leaf), float(scale), bits)
        return tests.equality.by_hand.evaluate(path, moved, biases)


def thinker_file(qmodel, variables, inputs):
    with tempfile.TemporaryDirectory() as folder:
        first = tuple(x[:1] for x in inputs)
        path = linger_jax.export_onnx(qmodel, variables, first, Path(folder, "model.onnx"), "thinker", strict=False)
        runner = linger_jax.OnnxRunner(path)
        pairs = zip(inputs, runner.inputs, strict=True)
        return runner.run([x if x.shape[1:] == tuple(e.shape)[1:] else np.moveaxis(x, -1, 1) for x, e in pairs])


def msgpack(qmodel, variables, inputs):
    data = flax.serialization.to_bytes(variables)
    zeros = jax.tree.map(np.zeros_like, variables)
    return qmodel.apply(flax.serialization.from_bytes(zeros, data), *inputs)


def orbax(qmodel, variables, inputs):
    import orbax.checkpoint

    with tempfile.TemporaryDirectory() as folder, orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(folder, "state"), variables)
        checkpointer.wait_until_finished()
        return qmodel.apply(checkpointer.restore(Path(folder, "state"), variables), *inputs)


def torch(qmodel, variables, inputs):
    state = linger_jax.converters.to_torch(qmodel, variables, inputs)
    return qmodel.apply(linger_jax.converters.load_linger_checkpoint(state, qmodel, None, inputs)[0], *inputs)


def op_by_op(qmodel, variables, inputs):
    with jax.disable_jit():
        return qmodel.apply(variables, *inputs)


def slopes(qmodel, variables, inputs, wrap=lambda f: f, jit=jax.jit):
    """Gradients of a sum that weighs each output differently, by parameters and float inputs."""
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    floats = [i for i, x in enumerate(inputs) if x.dtype == np.float32]

    def loss(params, given):
        whole = [given[floats.index(i)] if i in floats else x for i, x in enumerate(inputs)]
        outputs = qmodel.apply({"params": params, **rest}, *whole)
        return sum((y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum()
                   for y in jax.tree.leaves(outputs) if jnp.issubdtype(y.dtype, jnp.floating)) + 0.0  # fmt: skip

    return jit(jax.grad(wrap(loss), (0, 1)))(variables["params"], [inputs[i] for i in floats])


def remat_slopes(qmodel, variables, inputs):
    return slopes(qmodel, variables, inputs, wrap=jax.checkpoint)


def slopes_op_by_op(qmodel, variables, inputs):
    return slopes(qmodel, variables, inputs, jit=lambda f: f)


EVALUATIONS: Mapping[str, Way] = {
    way.__name__: way
    for way in (
        *(apply, jitted, vmapped, one_by_one, integer, linger_file, by_hand, thinker_file, msgpack, orbax, torch),
        op_by_op,
    )
}
"""All must give what ``apply`` gives."""
GRADIENTS: Mapping[str, Way] = {way.__name__: way for way in (slopes, remat_slopes, slopes_op_by_op)}
"""All must give what ``slopes`` gives."""
GRADIENT_TOLERANCE = 2e-5
"""Of the largest entry; XLA adds the floats of a gradient in an order of its own."""
HOLD_FOR_FLOATS = ("apply", "linger_file", "thinker_file", "msgpack", "orbax", "torch", "slopes")
"""What is promised where a part of the model runs as float, or adds more than float32 holds as linger does: XLA sums
floats in another order in another program. The same program gives the same, and a file that is written at all computes
the same."""

INTEGER_WAYS = ("integer", "linger_file", "by_hand", "thinker_file")
"""What is promised under ``compat: chip`` alone: under ``reference`` evaluation is that of linger, which adds in
float32, wraps where the chip saturates, and labels recurrent states with the scale of another quantizer."""


def as_arrays(output: Any) -> Arrays:
    """The arrays of an output, in order."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(output)]


def alike(got: Arrays, wanted: Arrays) -> bool:
    """Whether two ways gave the same; images of a file may lie channels-first."""
    return len(got) == len(wanted) and all(_same(one, other) for one, other in zip(got, wanted, strict=True))


def near(got: Arrays, wanted: Arrays, *, cancelled: float = 0.0) -> bool:
    """Whether two gradients are the same but for the order in which floats were added.

    Args:
      got, wanted: arrays of the gradients.
      cancelled: size of terms that may cancel, so that what is left of them is rounding.
    """
    sizes = [np.abs(a).max(initial=0, where=np.isfinite(a)) for a in wanted]
    allowed = GRADIENT_TOLERANCE * max(*sizes, cancelled, 0)
    pairs = zip(got, wanted, strict=True)
    return len(got) == len(wanted) and all(np.allclose(a, b, rtol=0, atol=allowed, equal_nan=True) for a, b in pairs)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Integers of other widths count as equal, and so does NaN."""
    nan = one.dtype.kind == "f"
    if np.array_equal(one, other, equal_nan=nan):
        return True
    return one.ndim > 2 and np.array_equal(one, np.moveaxis(other, -1, 1), equal_nan=nan)

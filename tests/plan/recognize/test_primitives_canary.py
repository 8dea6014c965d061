"""How operators appear as JAX primitives: the ground that recognition stands on (docs/architecture.md section 4).

When this test fails after a JAX upgrade, recognition may have lost an operator without another error. Print the new
table with ``python -m tests.plan.recognize.test_primitives_canary`` and look at what changed. Teach it to
``linger_jax/compat`` (equations.py) where it is another way of writing the same, to ``linger_jax/kinds`` (moves.py)
where it only moves values, else to ``linger_jax/plan/recognize``, until test_operators.py beside it passes. Only then
put the new lines here. The table holds for both ends of the supported releases; where they differ, ``APPEARANCES`` has
the lower end and ``SINCE`` the rest.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.ad_checkpoint import checkpoint_name

from linger_jax.compat import CALL, CUSTOM_JVP, SCAN, equations, operation

X = jax.ShapeDtypeStruct((2, 4), jnp.float32)
IMAGE = jax.ShapeDtypeStruct((2, 6, 6, 4), jnp.float32)

SPELLINGS = {
    "nn.relu": (nn.relu, X),
    "jax.nn.relu6": (jax.nn.relu6, X),
    "jnp.maximum(x, 0)": (lambda x: jnp.maximum(x, 0), X),
    "silu": (jax.nn.silu, X),
    "log_softmax": (jax.nn.log_softmax, X),
    "elu": (jax.nn.elu, X),
    "hard_sigmoid": (jax.nn.hard_sigmoid, X),
    "sigmoid": (jax.nn.sigmoid, X),
    "tanh": (jnp.tanh, X),
    "gelu, tanh form": (jax.nn.gelu, X),
    "gelu, erf form": (lambda x: jax.nn.gelu(x, approximate=False), X),
    "softmax": (jax.nn.softmax, X),
    "softmax, axis 0": (lambda x: jax.nn.softmax(x, axis=0), X),
    "softmax with where": (lambda x: jax.nn.softmax(x, where=x > 0), X),
    "expit": (jax.scipy.special.expit, X),
    "lax.logistic": (jax.lax.logistic, X),
    "nn.swish": (nn.swish, X),
    "x * sigmoid(x)": (lambda x: x * jax.nn.sigmoid(x), X),
    "x / 2": (lambda x: x / 2.0, X),
    "x / sqrt(8)": (lambda x: x / jnp.sqrt(8.0), X),
    "max_pool": (lambda x: nn.max_pool(x, (2, 2)), IMAGE),
    "avg_pool": (lambda x: nn.avg_pool(x, (2, 2)), IMAGE),
    "avg_pool without padding in the count": (lambda x: nn.avg_pool(x, (2, 2), count_include_pad=False), IMAGE),
    "mean": (lambda x: jnp.mean(x, (1, 2)), IMAGE),
    "x @ y": (lambda x: x @ x.T, X),
    "einsum": (lambda x: jnp.einsum("ab,cb->ac", x, x), X),
    "batched matmul": (lambda x: jnp.matmul(x, x.transpose(0, 1, 3, 2)), IMAGE),
    "einsum with a transposed result": (lambda x: jnp.einsum("ab,cb->ca", x, x), X),
    "einsum of three": (lambda x: jnp.einsum("ab,cb,cd->ad", x, x, x), X),
    "tensordot": (lambda x: jnp.tensordot(x, x, axes=((0, 1), (0, 1))), X),
    "matvec": (lambda x: jnp.matvec(x, x[0]), X),
    "x + 1": (lambda x: x + 1, X),
    "x * x": (lambda x: x * x, X),
    "concatenate": (lambda x: jnp.concatenate([x, x]), X),
    "hstack": (lambda x: jnp.hstack([x, x]), X),
    "append": (lambda x: jnp.append(x, x), X),
    "stack": (lambda x: jnp.stack([x, x]), X),
    "reshape": (lambda x: x.reshape(-1), X),
    "x[0, ::2]": (lambda x: x[0, ::2], X),
    "x[indices]": (lambda x: x[jnp.array([1, 0])], X),
    "split": (lambda x: jnp.split(x, 2), X),
    "unstack": (lambda x: jnp.unstack(x, axis=1), X),
    "a, b = x": (lambda x: [*x], X),
    "flip": (lambda x: jnp.flip(x), X),
    "pad": (lambda x: jnp.pad(x, 1), X),
    "roll": (lambda x: jnp.roll(x, 1, 0), X),
    "repeat": (lambda x: jnp.repeat(x, 2, axis=1), X),
    "tile": (lambda x: jnp.tile(x, (1, 2)), X),
    "top_k": (lambda x: jax.lax.top_k(x, 2), X),
    "remat": (jax.checkpoint(jnp.sin), X),
    "checkpoint_name": (lambda x: checkpoint_name(x, "kept"), X),
    "scan": (lambda x: jax.lax.scan(lambda c, y: (c, y), x[0], x)[1], X),
    "fori_loop": (lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y + 1.0, x), X),
    "map": (lambda x: jax.lax.map(jnp.sin, x), X),
    "associative_scan": (lambda x: jax.lax.associative_scan(jnp.add, x), X),
    "cumsum": (lambda x: jnp.cumsum(x, 0), X),
    "cond": (lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), X),
    "while": (lambda x: jax.lax.while_loop(lambda y: y[0, 0] > 0, lambda y: y - 1.0, x), X),
    "jit": (jax.jit(jnp.sin), X),
}


def appearance(function, operand):
    """Operations in order; a nested jit as ``jit:name(...)``, a custom derivative with the name inside it."""
    with jax.numpy_dtype_promotion("standard"):
        return describe(jax.make_jaxpr(function)(operand))


def describe(closed):
    words = []
    for what in map(operation, equations(closed)):
        word = what.name
        if word == CALL:
            word = f"jit:{what.params['name']}({describe(what.params['jaxpr'])})"
        elif word == CUSTOM_JVP:
            word = f"custom_jvp_call[{what.params['function']}]({describe(what.params['jaxpr'])})"
        elif word == SCAN:
            word = f"scan[{what.params['consts']}, {what.params['carry']}]({describe(what.params['jaxpr'])})"
        words.append(word)
    return " ".join(words)


APPEARANCES = {
    "nn.relu": "custom_jvp_call[relu](jit:relu(max))",
    "jax.nn.relu6": "custom_jvp_call[relu6](jit:relu6(max min))",
    "jnp.maximum(x, 0)": "max",
    "silu": "jit:silu(logistic mul)",
    "log_softmax": (
        "jit:log_softmax(reduce_max max broadcast_in_dim stop_gradient sub exp reduce_sum broadcast_in_dim log sub)"
    ),
    "elu": "jit:elu(gt gt jit:_where(convert_element_type broadcast_in_dim select_n) expm1 mul jit:_where(select_n))",
    "hard_sigmoid": "jit:hard_sigmoid(add custom_jvp_call[relu6](jit:relu6(max min)) div)",
    "sigmoid": "logistic",
    "tanh": "tanh",
    "gelu, tanh form": "integer_pow mul add mul tanh add mul mul",
    "gelu, erf form": "mul neg mul erfc mul copy",
    "softmax": "reduce_max max broadcast_in_dim stop_gradient sub exp reduce_sum broadcast_in_dim div",
    "softmax, axis 0": "reduce_max max broadcast_in_dim stop_gradient sub exp reduce_sum broadcast_in_dim div",
    "softmax with where": (
        "gt jit:_where(broadcast_in_dim select_n) reduce_max max broadcast_in_dim "
        "jit:_where(convert_element_type broadcast_in_dim select_n) stop_gradient sub exp "
        "jit:_where(broadcast_in_dim select_n) reduce_sum broadcast_in_dim div "
        "jit:_where(convert_element_type broadcast_in_dim select_n)"
    ),
    "expit": "logistic",
    "lax.logistic": "logistic",
    "nn.swish": "jit:silu(logistic mul)",
    "x * sigmoid(x)": "logistic mul",
    "x / 2": "div",
    "x / sqrt(8)": "sqrt convert_element_type div",
    "max_pool": "reduce_window_max",
    "avg_pool": "reduce_window_sum div",
    "avg_pool without padding in the count": "reduce_window_sum broadcast_in_dim reduce_window_sum div",
    "mean": "reduce_sum div",
    "x @ y": "transpose dot_general",
    "einsum": "dot_general",
    "batched matmul": "transpose dot_general",
    "einsum with a transposed result": "dot_general",
    "einsum of three": "dot_general dot_general",
    "tensordot": "dot_general",
    "matvec": "slice squeeze jit:matvec(dot_general)",
    "x + 1": "add",
    "x * x": "mul",
    "concatenate": "concatenate",
    "hstack": "jit:atleast_1d() jit:atleast_1d() concatenate",
    "append": "jit:append(reshape reshape concatenate)",
    "stack": "stack",
    "reshape": "reshape",
    "x[0, ::2]": "slice squeeze",
    "x[indices]": "lt add select_n broadcast_in_dim gather",
    "split": "split",
    "unstack": "unstack",
    "a, b = x": "slice squeeze slice squeeze",
    "flip": "jit:_flip(rev)",
    "pad": "jit:_pad(convert_element_type pad)",
    "roll": "jit:_roll_static(slice slice concatenate)",
    "repeat": "broadcast_in_dim reshape",
    "tile": "tile",
    "top_k": "top_k",
    "remat": "remat",
    "checkpoint_name": "name",
    "scan": "slice squeeze scan[1, 0]()",
    "fori_loop": "scan[0, 2](add add)",
    "map": "scan[0, 0](sin)",
    "associative_scan": "slice slice add slice slice add slice concatenate pad pad add",
    "cumsum": "jit:cumsum(cumsum)",
    "cond": "slice squeeze gt convert_element_type cond",
    "while": "while",
    "jit": "jit:sin(sin)",
}

SINCE = {(0, 11): {"a, b = x": "unstack"}}
"""What a release of JAX, and those after it, write differently."""


def expected(name):
    entries = [APPEARANCES, *(changed for first, changed in SINCE.items() if jax.__version_info__ >= first)]
    return next(table[name] for table in reversed(entries) if name in table)


@pytest.mark.parametrize("name", SPELLINGS)
def test_operator_appears_as_the_primitives_that_recognition_knows(name):
    assert appearance(*SPELLINGS[name]) == expected(name), __doc__


if __name__ == "__main__":
    for name, (function, operand) in SPELLINGS.items():
        print(f'    "{name}": "{appearance(function, operand)}",')

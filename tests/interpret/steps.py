"""Training and evaluation steps for tests, and comparing their results bit for bit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

TQT = {"quant_info": {"qat_method": "TQT"}}
REFERENCE = {"compat": "reference"}


def trained(qmodel: Any, variables: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Output of a training call and the variables after it; parameters stay."""
    mutable = [c for c in variables if c != "params"]
    output, updates = qmodel.apply(variables, *args, mutable=mutable, **kwargs)
    return output, {**variables, **updates}


def gradients(qmodel: Any, variables: Any, *args: Any, **kwargs: Any) -> Any:
    """Gradients of the sum of squares of a training call's output by all parameters."""
    state = {c: v for c, v in variables.items() if c != "params"}

    def loss(params: Any) -> Any:
        output, updates = qmodel.apply({"params": params, **state}, *args, mutable=list(state), **kwargs)
        return jnp.sum(jnp.square(output)), updates

    return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])[0]


def same_bits(one: Any, other: Any) -> None:
    """Asserts that two trees have the same structure, dtypes and bits."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype, jax.tree_util.keystr(path)
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
        assert a.tobytes() == b.tobytes(), f"{jax.tree_util.keystr(path)}: a zero of the other sign"


def quantized(x: Any, scale: float, bits: int = 8) -> np.ndarray:
    """floor(x * scale + 0.5), saturated, over scale: an activation quantizer by hand."""
    steps = np.floor(np.float32(np.float32(x) * np.float32(scale)) + np.float32(0.5))
    return np.clip(steps, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) / np.float32(scale)


def scale_for(largest: float, bits: int = 8) -> float:
    """2^round(bits - 1 - log2(largest)): the scale rule away from its ties."""
    return float(2.0 ** np.clip(np.rint(bits - 1 - np.log2(largest)), 0, 23))

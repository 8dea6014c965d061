"""Initial variables of a float model without the work of running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from linger_jax.compat import as_function, is_tracer, without_unused
from linger_jax.errors import LingerError


def float_variables(model: nn.Module, rngs: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], method: Any) -> Any:
    """What ``model.init`` gives, to the bit.

    ``init`` runs the whole model, operator by operator. The variables of most models depend on the shapes of the inputs
    only: such a model is traced, and nothing but the variables is computed. A model whose variables or control flow
    depend on the values of its inputs runs.

    Args:
      model: the float model.
      rngs: as in ``nn.Module.init``.
      args, kwargs, method: the call; an array may be a ``jax.ShapeDtypeStruct``.

    Returns:
      The model's collections.

    Raises:
      LingerError: the variables depend on the values of an argument that is given as a shape.
    """
    named, treedef = jax.tree_util.tree_flatten_with_path((args, dict(kwargs)))
    leaves = [leaf for _, leaf in named]
    positions = [i for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray, jax.ShapeDtypeStruct))]
    made: list[Any] = []

    def computed(arrays: list[Any]) -> list[Any]:
        """The variables that are computed; those known without (a Python number, an array of the model's own) stay."""
        given = dict(zip(positions, arrays, strict=True))
        merged, merged_kwargs = jax.tree.unflatten(treedef, [given.get(i, leaf) for i, leaf in enumerate(leaves)])
        variables = model.init(rngs, *merged, method=method, **merged_kwargs)
        made[:] = jax.tree.flatten(variables)
        return [leaf for leaf in made[0] if is_tracer(leaf)]

    arrays = [leaves[i] for i in positions]
    try:
        needed, used = without_unused(jax.make_jaxpr(computed)(arrays))
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        used = [True] * len(arrays)
    if any(used):
        names = [jax.tree_util.keystr(named[i][0]) for i, is_used in zip(positions, used, strict=True) if is_used]
        if any(isinstance(array, jax.ShapeDtypeStruct) for array in arrays):
            raise LingerError(
                f"{type(model).__name__}: what its variables are depends on the values of its arguments "
                f"({', '.join(names)}); a jax.ShapeDtypeStruct has none, pass arrays"
            )
        return model.init(rngs, *args, method=method, **kwargs)
    results = iter(as_function(needed)(*arrays))
    variables, tree = made
    return jax.tree.unflatten(tree, [next(results) if is_tracer(leaf) else leaf for leaf in variables])

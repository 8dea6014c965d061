"""The one product inside a layer's float computation: its parameters, and the kernel as it enters it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn, Literal

from linger_jax.export.laid import HostArray
from linger_jax.export.lowering.call import Step
from linger_jax.plan.equations import one_equation
from linger_jax.staging.marker import Path

_PRODUCTS = ("dot_general", "conv_general_dilated")
# Steps before and behind the product that leave its operand and its result what they are.
_AROUND = frozenset({"reshape", "broadcast_in_dim", "add", "squeeze", "expand_dims", "copy", "convert_element_type"})


@dataclasses.dataclass(frozen=True, eq=False)
class LayerProduct:
    """The product.

    Attributes:
      parameters: of its equation.
      kernel: its right operand, integers.
      input_shape: shape of its left operand.
    """

    parameters: Mapping[str, Any]
    kernel: HostArray
    input_shape: tuple[int, ...]


def layer_product(step: Step, kernel: HostArray, role: Path = ("params", "kernel")) -> LayerProduct:
    """Finds the product of a layer and brings the integers of its kernel to it.

    Args:
      step: the layer.
      kernel: integers in Flax's layout.
      role: of the kernel among the layer's operands.

    Raises:
      ExportError: the layer computes more than one product and a bias.
    """
    node = step.node
    assert node.jaxpr is not None
    assert node.layer is not None
    env: dict[Any, HostArray] = {node.jaxpr.jaxpr.invars[node.layer.operands.index(role)]: kernel}
    found: JaxprEqn | None = None
    for eqn in node.jaxpr.jaxpr.eqns:
        if eqn.primitive.name in _PRODUCTS and found is None:
            found = eqn
        elif all(not isinstance(v, Literal) and v in env for v in eqn.invars) and eqn.invars:
            results = one_equation(eqn)(*(env[v].astype(np.float32) for v in eqn.invars))
            env.update((v, np.asarray(r)) for v, r in zip(eqn.outvars, results, strict=True))
        elif eqn.primitive.name not in _AROUND:
            raise step.error(f"it computes {eqn.primitive.name} besides its product; a file has no form for that")
    if found is None:
        raise step.error("it has no product")
    left: Any = found.invars[0].aval
    return LayerProduct(found.params, np.rint(env[found.invars[1]]).astype(np.int64), tuple(left.shape))

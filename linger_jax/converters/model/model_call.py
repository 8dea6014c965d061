"""One call of a float Flax model: the shapes of its variables and its plan, without computing anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.core
import flax.linen as nn
import jax
import jax.numpy as jnp

from linger_jax.api import fold_variables
from linger_jax.config import QuantConfig
from linger_jax.plan import Plan, PlanSettings, build_plan
from linger_jax.staging import NOTHING_FOLDED, split_call, stage
from linger_jax.typing import Tree


@dataclasses.dataclass(frozen=True, eq=False)
class ModelCall:
    """The model and the arguments of its call.

    Attributes:
      model: a Linen module, unbound.
      args, kwargs: the model's own; arrays may be shapes only.
      rngs: a key or a mapping of keys.
      method: the model's method, or None.
      fused: settings of the quantized model whose convolutions hold the normalization behind them, or None.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    rngs: Any
    method: Callable[..., Any] | str | None
    fused: PlanSettings | None = None

    def shapes(self) -> Tree:
        """Shape and dtype of every variable."""
        call, arrays = split_call(self.args, self.kwargs, self.rngs, self.method, ())
        return self._folded(_plain(jax.eval_shape(self._init(call), arrays)))

    def init(self) -> Tree:
        """Values of every variable, as the model initialises them; shapes in the arguments count as zeros."""
        call, arrays = split_call(self.args, self.kwargs, self.rngs, self.method, ())
        zeros = [jnp.zeros(a.shape, a.dtype) if isinstance(a, jax.ShapeDtypeStruct) else a for a in arrays]
        return self._folded(_plain(self._init(call)(zeros)))

    def plan(self, shapes: Tree) -> Plan:
        """The plan of the float model; nothing in it is quantized and no chip's limits are checked."""
        mutable = tuple(name for name in shapes if name != "params")
        call, arrays = split_call(self.args, self.kwargs, self.rngs, self.method, mutable)
        norms = NOTHING_FOLDED if self.fused is None else self.fused.folded_norms
        staged = stage(self.model, shapes, call, arrays, norms)
        return build_plan(staged, PlanSettings(config=QuantConfig(custom_layers=False), purpose="constrain"))

    def _folded(self, variables: Tree) -> Tree:
        return variables if self.fused is None else fold_variables(self.fused, variables)

    def _init(self, call: Any) -> Callable[[list[Any]], Any]:
        def run(arrays: list[Any]) -> Any:
            args, kwargs, rngs = call.merge(arrays)
            return self.model.init(rngs, *args, method=self.method, **kwargs)

        return run


def _plain(variables: Any) -> Tree:
    """Nested dicts of arrays, without Flax's boxes and frozen dicts."""
    unboxed: Tree = flax.core.unfreeze(nn.unbox(variables))
    return unboxed

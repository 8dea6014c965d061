"""A float model in which convolutions are computed together with the normalization behind them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from linger_jax.api.quantized_model import QuantizedModel
from linger_jax.config import QuantConfig
from linger_jax.plan import Fusion, Plan, PlanSettings


@dataclasses.dataclass(frozen=True)
class FusedModel:
    """What ``linger_jax.trace_layers`` makes of a model: a frozen value, to be used where the model was.

    The user's module is not changed and its variables stay where they are; ``init`` and ``apply`` are called like a
    Linen module's. Passed to ``linger_jax.init`` each pair becomes one quantized convolution with a bias, passed
    to ``linger_jax.constrain`` one constrained layer.

    Attributes:
      model: the user's module.
      fusion: what belongs together in it.
    """

    model: nn.Module
    fusion: Fusion

    @functools.cached_property
    def _running(self) -> QuantizedModel:
        return QuantizedModel(self.model, PlanSettings(config=QuantConfig(), purpose="float", fusion=self.fusion))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.model, self.fusion)

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """The module's own ``init``: fused layers have the variables of the two layers that they are."""
        return self.model.init(rngs, *args, **kwargs)

    def apply(
        self,
        variables: Mapping[str, Any],
        *args: Any,
        rngs: Any = None,
        method: Any = None,
        mutable: Any = False,
        **kwargs: Any,
    ) -> Any:
        """Runs the model in float; fused layers by the formulas of docs/specification/config.md section 5.

        In evaluation that is the model itself, up to the last bits of a float. In training a fused layer returns
        0.1 * (normalized convolution) + 0.9 * (convolution with folded weights), and the running variance is unbiased.

        Arguments, result and errors as in ``nn.Module.apply``.

        Raises:
          PlanError: this call uses the layers of a pair in another way than the call that was traced.
        """
        return self._running.apply(variables, *args, rngs=rngs, method=method, mutable=mutable, **kwargs)

    def plan(
        self, variables: Mapping[str, Any], *args: Any, rngs: Any = None, method: Any = None, **kwargs: Any
    ) -> Plan:
        """The layers of one call, fused ones as one row; arguments as in ``nn.Module.apply``."""
        return self._running.plan(variables, *args, rngs=rngs, method=method, **kwargs)

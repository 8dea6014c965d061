"""A quantized model that was never trained, run or compiled: its evaluation is only traced, and its scales are set.

What becomes of an operator on a chip hangs on shapes, widths and scales, not on weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
from linger_jax.api import initial
from linger_jax.api.call_checks import refuse_empty
from linger_jax.config import Platform
from linger_jax.export.lower import Record
from linger_jax.export.verdict import TracedEvaluation, abstract_record, trace_evaluation
from linger_jax.plan import Plan
from linger_jax.quantizers import QuantizerKind
from linger_jax.typing import Path
from tests.support_matrix.operators import Function, Row

COMMON = 16.0
"""Scale of every activation, unless the outputs of what is looked at have another."""
_WEIGHT, _CELL = 128.0, 2.0**15


class AbstractModel:
    """One row on one platform, planned.

    Args:
      row: the row.
      platform: the chip.
      strict: of ``linger_jax.init``.

    Raises:
      LingerError: something would run as float there, or is beyond the chip's limits.
    """

    def __init__(self, row: Row, platform: Platform, *, strict: bool = True) -> None:
        self.model: nn.Module = Function(row.function)
        config = {"platform": platform.value, "quant_info": dict(row.bits)}
        self.qmodel = linger_jax.init(self.model, config, strict=strict)
        self.arguments = tuple(jax.ShapeDtypeStruct(shape, row.dtype) for shape in row.shapes)
        key = jax.ShapeDtypeStruct((2,), np.uint32)
        self.variables = jax.eval_shape(self.model.init, key, *self.arguments)
        refuse_empty(self.arguments, {})
        self.plan: Plan = self.qmodel.plan(self.variables, *self.arguments, verdict=False)
        self.platform = platform
        self.output_scale = COMMON
        self._evaluation: TracedEvaluation | None = None

    @property
    def zeros(self) -> tuple[Any, ...]:
        """Inputs of its shapes."""
        return tuple(np.zeros(a.shape, a.dtype) for a in self.arguments)

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Not for this model."""
        raise NotImplementedError

    def plan_of_call(self, *call: Any, **options: Any) -> Plan:
        """The one call of this model."""
        return self.plan

    def record(self, variables: Any, *args: Any, rngs: Any = None, method: Any = None, **kwargs: Any) -> Record:
        """The evaluation as far as shapes go, with the scales that it makes of those of now."""
        leaves = jax.tree.leaves(self.variables)
        if self._evaluation is None:
            self._evaluation = trace_evaluation(self.plan, self.state, leaves, self.arguments)
        return abstract_record(self.plan, self._evaluation, self.state, leaves, self.arguments)

    @property
    def state(self) -> Mapping[Path, Any]:
        """Of its quantizers, with the scales of now."""
        return {
            path: {**entries, "scale": jnp.full_like(entries["scale"], self._scale(path))}
            for path, entries in initial(self.plan).items()
        }

    def _scale(self, path: Path) -> float:
        quantizer = self.plan.quantizers[path]
        if quantizer.spec.kind is not QuantizerKind.activation:
            return _WEIGHT if quantizer.spec.kind is QuantizerKind.weight else _WEIGHT * COMMON
        if path[-1] == "cell_quantizer":
            return _CELL
        ours = not path[0].startswith("before") and not quantizer.tied
        return self.output_scale if ours and path[-1] in ("output_quantizer", "hidden_quantizer") else COMMON

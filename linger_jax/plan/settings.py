"""What the user asked for when the model was converted."""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn

from linger_jax.config import QuantConfig
from linger_jax.kinds import OPERATOR_NAMES, OperatorKind
from linger_jax.path_patterns import matches
from linger_jax.plan.fuse import NOTHING_FUSED, FusedPair, Fusion
from linger_jax.plan.semantics import Semantics, semantics
from linger_jax.staging import FoldedNorms


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """Arguments of ``init`` / ``constrain`` that decide a plan.

    Attributes:
      config: the configuration.
      purpose: quantize the model, constrain it, or leave it float (with its fused layers).
      disable_module: module types left as they are (exact type).
      disable_submodel: dotted names left as they are, with everything below them.
      disable_ops: names of operators left as they are (``OPERATOR_NAMES``).
      strict: anything that stays float is an error; ``"device"``: so is what the chip would refuse.
      fusion: layers that are computed together, as ``trace_layers`` found them.
    """

    config: QuantConfig
    purpose: Literal["quantize", "constrain", "float"] = "quantize"
    disable_module: tuple[type[nn.Module], ...] = ()
    disable_submodel: tuple[str, ...] = ()
    disable_ops: tuple[str, ...] = ()
    strict: bool | Literal["device"] = False
    fusion: Fusion = NOTHING_FUSED

    @property
    def semantics(self) -> Semantics:
        """The compat record of the configuration."""
        return semantics(self.config.compat)

    @property
    def folded_pairs(self) -> tuple[FusedPair, ...]:
        """The fused pairs that are one quantized convolution each; others stay a float layer with two children."""
        if self.purpose != "quantize":
            return ()
        return tuple(pair for pair in self.fusion.pairs if self.disabled(pair.conv, pair.types) is None)

    @property
    def folded_norms(self) -> FoldedNorms:
        """The folded pairs as staging takes them."""
        pairs = self.folded_pairs
        return FoldedNorms(frozenset(p.conv for p in pairs), frozenset(p.norm for p in pairs))

    def disabled(self, path: tuple[str, ...], types: tuple[type, ...] = ()) -> str | None:
        """Why the module at ``path`` is left float, or None."""
        dotted = ".".join(path)
        for pattern in self.disable_submodel:
            if matches(pattern, dotted, literal=self.semantics.patterns_are_literal):
                return f"disable_submodel {pattern!r}"
        for module_type in self.disable_module:
            if module_type in types:
                return f"disable_module {module_type.__name__}"
        return None

    def disabled_operator(self, kind: OperatorKind) -> str | None:
        """Why an operator is left float wherever it is met, or None."""
        name = next((name for name in self.disable_ops if OPERATOR_NAMES[name] is kind), None)
        return None if name is None else f"disable_ops {name!r}"

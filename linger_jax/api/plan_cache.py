"""Plans of one model, the last ones kept: staging and planning a call takes some tenths of a second."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import flax.linen as nn
import jax

from linger_jax.compat import context_number, holds_tracers
from linger_jax.compat.linen import under_interceptors
from linger_jax.export.verdict import TracedEvaluation, trace_evaluation
from linger_jax.interpret import State
from linger_jax.plan import Graph, Plan, PlanSettings, build_plan
from linger_jax.quantizers import QTensor
from linger_jax.staging import Call, stage
from linger_jax.typing import Tree

KEPT = 16
"""Plans that a model keeps: training, evaluation and calibration, each for a few shapes."""


class PlanCache:
    """Stages and plans calls of a model; safe to share between threads.

    A plan is used again for a call of the same structure and static values, on arrays of the same types, in the same
    JAX context (wide types, promotion rules, precision, mesh, user contexts: whatever makes ``jax.jit`` trace again).
    It is not kept where a trace cannot be repeated from these: a model that holds tracers of a surrounding
    transformation, or one that runs under interceptors of the user's.

    Attributes:
      model: the unbound float model.
      settings: what the user asked for.
    """

    def __init__(self, model: nn.Module, settings: PlanSettings) -> None:
        self.model = model
        self.settings = settings
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self._evaluations: weakref.WeakKeyDictionary[Graph, TracedEvaluation] = weakref.WeakKeyDictionary()
        self._compiled: OrderedDict[Hashable, Callable[..., Any]] = OrderedDict()
        self._lock = threading.Lock()

    def compiled(
        self, plan: Plan, form: Hashable, make: Callable[[Plan, Any], Callable[..., Any]]
    ) -> Callable[..., Any]:
        """A compiled function that belongs to a plan; the last ones are kept.

        Args:
          plan: the plan.
          form: what else decides the function.
          make: makes it, of the plan and the form; itself part of what it is known by.
        """
        key = (make, form, plan.graph)
        with self._lock:
            known = self._compiled.pop(key, None) or make(plan, form)
            self._compiled[key] = known
            while len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
        return known

    def evaluation(self, plan: Plan, state: State, leaves: list[Any], arrays: list[Any]) -> TracedEvaluation:
        """The traced evaluation of a plan, as long as that lives; arguments as in ``trace_evaluation``."""
        with self._lock:
            known = self._evaluations.get(plan.graph)
        if known is None:
            known = trace_evaluation(plan, state, leaves, arrays)
            with self._lock:
                self._evaluations[plan.graph] = known
        return known

    def plan(self, variables: Tree, call: Call, arrays: list[Any]) -> Plan:
        """The plan of a call.

        Args:
          variables: the float model's collections; arrays may be ``jax.ShapeDtypeStruct``.
          call: the static half of the call.
          arrays: its arrays, in order.

        Raises:
          PlanError, PlatformLimitError: as ``linger_jax.plan.build_plan``.
        """
        key = _key(variables, call, arrays)
        if key is not None:
            with self._lock:
                known = self._plans.get(key)
                if known is not None:
                    self._plans.move_to_end(key)
                    return known
        staged = stage(self.model, variables, call, arrays, self.settings.folded_norms)
        bits = tuple(a.bits if isinstance(a, QTensor) else None for a in arrays)
        plan = build_plan(staged, self.settings, bits)
        if key is not None and not holds_tracers(staged.jaxpr):
            with self._lock:
                self._plans[key] = plan
                while len(self._plans) > KEPT:
                    self._plans.popitem(last=False)
        return plan


def _key(variables: Tree, call: Call, arrays: list[Any]) -> Hashable | None:
    """What a trace depends on; None where that cannot be told."""
    if under_interceptors():
        return None
    leaves, treedef = jax.tree.flatten(variables)
    types = tuple(_type(leaf) for leaf in (*leaves, *arrays))
    key = (call, treedef, types, context_number())
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _type(leaf: Any) -> Hashable:
    if isinstance(leaf, QTensor):
        return leaf.bits, _type(leaf.value)
    return leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)

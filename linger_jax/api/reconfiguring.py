"""Another configuration for a finished model: what may change, and its state under the new one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from linger_jax.api import quant_collection
from linger_jax.api.quant_collection import QUANT, copied, float_collections, get_in
from linger_jax.config import QuantConfig, load_config
from linger_jax.errors import LingerError, LingerWarning
from linger_jax.interpret import Context, Mode, State, clamp_parameters, interpret
from linger_jax.plan import Plan
from linger_jax.quantizers import THRESHOLD, WEIGHT_CLAMPED, QuantizerSpec, converted_state
from linger_jax.typing import Path, Tree

_FIXED = ("open_quant", "compat", "custom_layers", "dtype", "device")
"""Keys that decide which quantizers there are, or where the model runs: another value is another model."""


def changed_config(
    config: QuantConfig, changes: Mapping[str, Any] | QuantConfig | str | os.PathLike[str]
) -> QuantConfig:
    """The configuration with changes over it.

    Args:
      config: of the model.
      changes: keys that win over it, a section's key by key and parts as a whole (a mapping, or a YAML file); or a
        complete configuration.

    Raises:
      LingerError: a key is changed that a finished model cannot change.
      ConfigError: an unknown key, or a value that is not allowed.
    """
    if isinstance(changes, Mapping):
        new = load_config(config, overrides=changes)
    else:
        new = load_config(changes, base=None if isinstance(changes, QuantConfig) else config)
    fixed = [key for key in _FIXED if getattr(new, key) != getattr(config, key)]
    if fixed:
        raise LingerError(
            f"a finished model cannot change {', '.join(fixed)}: make a new one with linger_jax.init. "
            "Everything else of the configuration can be replaced"
        )
    return new


def taken_over(plan: Plan, before: Plan, variables: Mapping[str, Any], arrays: list[Any]) -> Tree:
    """Variables of one configuration for the plan of another.

    Statistics, thresholds and flags stay, in the form of the new method; scales follow from them at the new widths, in
    the order in which values flow. A weight whose clamp was changed is clamped once more, as in a first training step.

    Args:
      plan: of the call under the new configuration.
      before: of the same call under the old one.
      variables: all collections.
      arrays: of the call; their values do not matter.

    Warns:
      LingerWarning: quantizers that have no state and start afresh.
    """
    quant, params = copied(variables.get(QUANT, {})), copied(variables.get("params", {}))
    state, fresh = _converted(plan, before, quant, params)
    if fresh:
        warnings.warn(
            f"these quantizers have no state yet and start afresh, calibrate or train them: {', '.join(fresh)}",
            LingerWarning,
            stacklevel=4,
        )
    values = float_collections({**variables, "params": params})
    named = dict(zip(plan.staged.variables, jax.tree.leaves(values), strict=True))
    clamped, state = clamp_parameters(plan.quantizers, named, state, Mode.train)

    def run(state: State, leaves: list[Any], arrays: list[Any]) -> State:
        ctx = Context(settings=plan.settings, quantizers=plan.quantizers, mode=Mode.rescale, state=dict(state))
        interpret(ctx, plan.graph, [*leaves, *arrays])
        return ctx.state

    state = jax.jit(run)(state, list(named.values()), arrays)
    quant, params = quant_collection.scatter(state, quant, quant_collection.with_parameters(params, clamped))
    return {**variables, "params": params, QUANT: quant}


def _converted(plan: Plan, before: Plan, quant: Tree, params: Tree) -> tuple[State, list[str]]:
    """State of every quantizer of the plan, and the names of those without; takes old entries out of the trees."""
    state, fresh = quant_collection.initial(plan), []
    for path, quantizer in plan.quantizers.items():
        known = _taken_out(quant, params, path)
        found = converted_state(quantizer.spec, known)
        if found is None:
            fresh.append(".".join(path))
            continue
        if path in before.quantizers and _clamp(before.quantizers[path].spec) != _clamp(quantizer.spec):
            found = {k: jnp.zeros_like(v) if k == WEIGHT_CLAMPED else v for k, v in found.items()}
        state[path] = found
    return state, fresh


def _clamp(spec: QuantizerSpec) -> tuple[float | None, float | None]:
    return spec.clamp_value, spec.clamp_factor


def _taken_out(quant: Tree, params: Tree, path: Path) -> dict[str, Any]:
    """Entries of a quantizer; they are removed, those of quantizers below it stay."""
    found: dict[str, Any] = {}
    for tree in (quant, params):
        entries = get_in(tree, path)
        if not isinstance(entries, dict):
            continue
        for name in [name for name, value in entries.items() if not isinstance(value, dict)]:
            if tree is quant or name == THRESHOLD:
                found[name] = entries.pop(name)
        if not entries:
            _remove(tree, path)
    return found


def _remove(tree: Tree, path: Path) -> None:
    for key in path[:-1]:
        tree = tree[key]
    del tree[path[-1]]

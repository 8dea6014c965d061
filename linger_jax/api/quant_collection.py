"""Quantizer state between its two forms: Flax collections outside, one flat mapping inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import flax.core
import jax.numpy as jnp
import numpy as np

from linger_jax.compat.linen import boxed_like, unboxed
from linger_jax.errors import StateError
from linger_jax.interpret import State
from linger_jax.plan import Plan
from linger_jax.quantizers import SCALE, THRESHOLD, initial_state, nothing_seen
from linger_jax.typing import Path, Tree

QUANT = "quant"
"""Name of the collection that holds quantizer state."""


def get_in(tree: Any, path: Path) -> Any:
    """Entry of a nested mapping, out of its box (``nn.Partitioned``) if it has one, or None."""
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return None
        tree = tree[key]
    return unboxed(tree)


def set_in(tree: Tree, path: Path, value: Any) -> None:
    """Sets an entry of a nested dict, making the levels above it; a boxed entry stays boxed."""
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = boxed_like(tree.get(path[-1]), value)


def copied(tree: Any) -> Any:
    """A new nested dict with the same leaves."""
    return {k: copied(v) for k, v in tree.items()} if isinstance(tree, Mapping) else tree


def is_threshold(path: Path) -> bool:
    """Whether a parameter is the threshold of a quantizer, and not one of the model's that has the same name."""
    return path[-1] == THRESHOLD and any(key.endswith("_quantizer") for key in path[-3:-1])


def threshold_path(params: Mapping[str, Any], path: Path) -> Path:
    """Where the threshold of the quantizer at ``path`` is in ``params``: at the same path.

    A custom layer is named after its parameter (docs/decisions.md D23), which stands at that path itself; the layer's
    thresholds are beside it then, under ``_linger_<parameter name>``.
    """
    level: Any = params
    for depth, key in enumerate(path):
        if key not in level:
            break
        level = level[key]
        if not isinstance(level, Mapping):
            return (*path[:depth], f"_linger_{key}", *path[depth + 1 :])
    return path


def float_collections(variables: Mapping[str, Any]) -> Tree:
    """The float model's collections as plain dicts, without quantizer state."""
    kept: Tree = {c: v for c, v in flax.core.unfreeze(dict(variables)).items() if c != QUANT}
    if "params" in kept:
        kept["params"] = _without_thresholds(kept["params"], ())
    return kept


def _without_thresholds(params: Mapping[str, Any], above: Path) -> Tree:
    kept: Tree = {}
    for key, value in params.items():
        path = (*above, key)
        if isinstance(value, Mapping):
            below = _without_thresholds(value, path)
            if below or not value:
                kept[key] = below
        elif not is_threshold(path):
            kept[key] = value
    return kept


def initial(plan: Plan) -> State:
    """Fresh state of every quantizer of the plan."""
    state: State = {}
    for path, quantizer in plan.quantizers.items():
        entries = initial_state(quantizer.spec)
        if quantizer.fixed_scale is not None:
            entries[SCALE] = jnp.full_like(entries[SCALE], quantizer.fixed_scale)
        state[path] = {k: jnp.broadcast_to(v, (*quantizer.stack, *v.shape)) for k, v in entries.items()}
    return state


def nothing_seen_of(plan: Plan) -> State:
    """What a calibration has seen of every quantizer before it begins: entries beside those of the state."""
    return {
        path: {
            k: jnp.asarray(np.broadcast_to(v, (*quantizer.stack, *v.shape)))
            for k, v in nothing_seen(quantizer.spec).items()
        }
        for path, quantizer in plan.quantizers.items()
    }


def gather(plan: Plan, variables: Mapping[str, Any]) -> State:
    """State of every quantizer of the plan from the ``quant`` and ``params`` collections.

    Raises:
      StateError: the collection or some of its entries are missing, or an entry has another shape.
    """
    if QUANT not in variables:
        raise StateError(
            "variables have no 'quant' collection: this model is quantized. Make it with "
            "qmodel.init(rngs, x) or qmodel.adopt(float_variables, x) and pass all collections to apply."
        )
    state: State = {}
    missing = []
    for path, quantizer in plan.quantizers.items():
        entries = {}
        for name, fresh in initial_state(quantizer.spec).items():
            collection, place = QUANT, (*path, name)
            if name == THRESHOLD:
                collection, place = "params", (*threshold_path(variables.get("params", {}), path), name)
            value = get_in(variables.get(collection, {}), place)
            if value is None:
                missing.append(f"{collection}: {'.'.join(place)}")
                continue
            wanted = (*quantizer.stack, *fresh.shape)
            if jnp.shape(value) != wanted:
                raise StateError(f"{collection}: {'.'.join(place)} has shape {jnp.shape(value)}, expected {wanted}")
            entries[name] = value
        state[path] = entries
    if missing:
        lines = "\n  ".join(missing[:20]) + (f"\n  ... {len(missing) - 20} more" if len(missing) > 20 else "")
        raise StateError(
            f"quantizer state is missing for {len(missing)} entries of this call's plan; initialise with the same "
            f"kind of call (method, keyword arguments) that you apply:\n  {lines}"
        )
    return state


def scatter(state: State, quant: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[Tree, Tree]:
    """Writes a state back: new ``quant`` and ``params`` collections; other entries stay."""
    new_quant, new_params = copied(quant), copied(params)
    for path, entries in state.items():
        for name, value in entries.items():
            if name == THRESHOLD:
                set_in(new_params, (*threshold_path(params, path), name), value)
            else:
                set_in(new_quant, (*path, name), value)
    return new_quant, new_params


def with_parameters(params: Mapping[str, Any], values: Mapping[Path, Any]) -> Tree:
    """The ``params`` collection with some parameters replaced, given by path with the collection first."""
    new = copied(params)
    for path, value in values.items():
        set_in(new, path[1:], value)
    return new


def parameter_labels(params: Mapping[str, Any]) -> Tree:
    """Labels for ``optax.multi_transform``: ``"threshold"`` for TQT thresholds, ``"weight"`` for everything else.

    Args:
      params: the ``params`` collection.

    Returns:
      A dict of the same structure.
    """
    return _labels(params, ())


def _labels(params: Mapping[str, Any], above: Path) -> Tree:
    labels: Tree = {}
    for key, value in params.items():
        path = (*above, key)
        if isinstance(value, Mapping):
            labels[key] = _labels(value, path)
        else:
            labels[key] = "threshold" if is_threshold(path) else "weight"
    return labels


def scales(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The scale of every quantizer, by its dotted name.

    Args:
      variables: a quantized model's collections.

    Returns:
      For example ``{"conv1.output_quantizer": 64.0, ...}``, in the order of the collection: float32 scalars, integer
      steps per unit (a scale of 64 is Q6); an array where a layer is stacked by ``nn.scan``. A quantizer whose value
      comes quantized already shows the scale that came.

    Raises:
      StateError: there is no ``quant`` collection.
    """
    if QUANT not in variables:
        raise StateError("variables have no 'quant' collection: only a quantized model has scales")
    return {".".join(path): scale for path, scale in _walk(variables[QUANT], ())}


def _walk(entries: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in entries.items():
        if isinstance(value, Mapping):
            yield from _walk(value, (*path, key))
        elif key == SCALE:
            yield path, value

"""``from_torch``: the weights of a PyTorch model as the variables of a Flax model."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from linger_jax.api import FusedModel
from linger_jax.converters.files import TorchState, read_state
from linger_jax.converters.layout import feature_orders
from linger_jax.converters.live_comparison import largest_difference
from linger_jax.converters.match import (
    Conversion,
    GivenNames,
    Matching,
    MatchMode,
    conversions,
    fill,
    read_names,
    row_of,
)
from linger_jax.converters.match import match as match_state
from linger_jax.converters.model import ModelCall, ModelInventory, ModelLayer, model_inventory
from linger_jax.converters.report import ImportProblems, ImportReport
from linger_jax.converters.weights import FlattenOrder, decided_orders, stored_otherwise
from linger_jax.errors import ConversionError
from linger_jax.staging import variable_paths
from linger_jax.typing import Path, Tree

# Collections that PyTorch keeps in its state dict: what the checkpoint does not fill there is missing.
_STORED = ("params", "batch_stats")


def from_torch(
    source: str | os.PathLike[str] | Mapping[str, Any] | Any,
    model: nn.Module | FusedModel,
    x: Any,
    *,
    mapping: GivenNames = None,
    match: MatchMode = "auto",
    flatten_order: Mapping[str, FlattenOrder] | None = None,
    strict: bool = True,
    variables: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    rngs: Any = None,
    method: Callable[..., Any] | str | None = None,
    **kwargs: Any,
) -> tuple[Tree, ImportReport]:
    r"""Imports a PyTorch checkpoint into a Flax model.

    Layouts are converted on the way (convolutions ``OIHW -> HWIO``, linear layers ``[out, in] -> [in, out]``,
    transposed convolutions flipped, BatchNorm with its statistics). PyTorch flattens images channels first: the rows
    of a Dense behind a flatten are permuted accordingly, found by following every axis through the model, never by
    shape; so are the columns of a Dense whose result is reshaped to an image.

    Args:
      source: a ``.pt`` / ``.pth`` file, read without running code of the file; a ``.safetensors`` file; a folder with
        either of them, or with shards and their index; a state dict; or a ``torch.nn.Module``, which is then run on the
        same input, for the largest difference in the report. Wrappers such as ``{"state_dict": ...}`` are opened,
        prefixes of DataParallel and ``torch.compile`` removed.
      model: the Flax Linen module, unbound; a fused model (``linger_jax.trace_layers``) stands for its module.
      x: example input; a tuple holds several positional arguments. Only shapes and dtypes matter.
      mapping: PyTorch key, module or prefix to dotted Flax path, for whatever is not found otherwise:
        ``{"backbone.conv1": "Conv_0", "head": None}``; None leaves it out. A prefix of several modules is matched
        inside, by name and by order. Also a list of regular expressions and replacements, of which the first that
        matches a whole key or module counts (``[(r"layers\.(\d+)\.fc", r"Block_\1.Dense_0")]``), a YAML file of
        either, or the report of another import.
      match: what to do beyond ``mapping``. ``"name"`` matches equal names (case, ``_`` and ``.`` do not count; names
        that Flax made up, such as ``Conv_0``, never match). ``"order"`` matches by order and shape along the data flow.
        ``"auto"`` does the one, then the other for what is left.
      flatten_order: where the order of a layer's features cannot be told: its path to ``"channels_first"`` (as PyTorch
        flattens), ``"channels_last"`` (as Flax does), or PyTorch's index of each of Flax's features.
      strict: missing variables and unexpected keys are errors. Otherwise missing variables keep their own values and
        unexpected keys are left out, both listed in the report. Shapes that conflict are errors always.
      variables: values of the variables that the checkpoint does not fill; by default those of ``model.init``.
      dry_run: only match and report; the variables returned are empty, and no value is read.
      rngs: a key or a mapping of keys for ``model.init`` and the traced call; any will do.
      method: the model's method, as in ``nn.Module.apply``.
      **kwargs: the model's own keyword arguments.

    Returns:
      ``(variables, report)``: every collection of the model, float32 (or the model's own ``param_dtype``), and what
      became of each tensor.

    Raises:
      ConversionError: the checkpoint cannot be read (missing, empty, truncated, objects instead of tensors, values that
        are not finite), or does not fit the model. Everything that does not fit is told in one error.
    """
    model = model.model if isinstance(model, FusedModel) else model
    state = read_state(source, values=not dry_run)
    call = model_call(model, x, rngs, method, kwargs)
    problems = ImportProblems(state.name, type(model).__name__)
    names = read_names(mapping, state.tensors)
    found = find_weights(state, call, problems, names, match, flatten_order or {}, strict=strict)
    problems.raise_if_any()
    if dry_run:
        return {}, found.foreseen()
    imported, report = found.fill(variables, problems)
    if not isinstance(source, Mapping) and callable(getattr(source, "eval", None)):
        difference, remark = largest_difference(source, call, imported)
        report = dataclasses.replace(report, largest_difference=difference, remark=remark)
    return imported, report


@dataclasses.dataclass(frozen=True, eq=False)
class FoundWeights:
    """A checkpoint matched with a model; nothing is converted yet.

    Attributes:
      state: the checkpoint.
      call: the model's call.
      shapes: shape and dtype of every variable.
      planned: what goes where.
      matching: what was matched, and what was left out.
    """

    state: TorchState
    call: ModelCall
    shapes: Tree
    planned: list[Conversion]
    matching: Matching

    def fill(self, own: Mapping[str, Any] | None, problems: ImportProblems) -> tuple[Tree, ImportReport]:
        """Converts every tensor; ``own`` has the values of variables that the checkpoint does not fill.

        Raises:
          ConversionError: values that cannot be used.
        """
        wanted = _by_path(self.shapes)
        values, rows = fill(self.state, self.planned, wanted, problems)
        problems.raise_if_any()
        kept = [path for path in wanted if path not in values]
        others = _own_values(self.call, own, kept)
        leaves = [values[path] if path in values else others[path] for path in wanted]
        report = ImportReport(
            source=self.state.name,
            rows=tuple(rows),
            dropped=(*self.state.dropped, *self.matching.dropped),
            prefixes=self.state.prefixes,
            unexpected=tuple(self.matching.unexpected),
            missing=tuple(".".join(path) for path in kept),
            parts=self.state.parts,
            normalised=self.state.normalised,
        )
        return jax.tree.unflatten(jax.tree.structure(self.shapes), leaves), report

    def foreseen(self) -> ImportReport:
        """What ``fill`` would report, from shapes alone."""
        rows = []
        for step in self.planned:
            rows.append(row_of(step, self.state.shape(step.key), self.state.other_float(step.key)))
        filled = {step.path for step in self.planned}
        return ImportReport(
            source=self.state.name,
            rows=tuple(rows),
            dropped=(*self.state.dropped, *self.matching.dropped),
            prefixes=self.state.prefixes,
            unexpected=tuple(self.matching.unexpected),
            missing=tuple(".".join(path) for path in _by_path(self.shapes) if path not in filled),
            parts=self.state.parts,
            normalised=self.state.normalised,
            remark="dry run: nothing was imported",
        )


def model_call(model: nn.Module, x: Any, rngs: Any, method: Any, kwargs: Mapping[str, Any]) -> ModelCall:
    """The call that the import traces.

    Raises:
      ConversionError: ``model`` is no Linen module.
    """
    if not isinstance(model, nn.Module):
        raise ConversionError(f"expected a flax.linen Module instance, got {type(model).__name__}")
    args = x if isinstance(x, tuple) else (x,)
    return ModelCall(model, args, kwargs, jax.random.key(0) if rngs is None else rngs, method)


def find_weights(
    state: TorchState,
    call: ModelCall,
    problems: ImportProblems,
    mapping: Mapping[str, str | None],
    match: MatchMode,
    flatten_order: Mapping[str, FlattenOrder],
    *,
    strict: bool,
) -> FoundWeights:
    """Matches a checkpoint with a model, without reading a value; what does not fit becomes problems.

    Raises:
      ConversionError: an unknown ``match``.
    """
    if match not in ("auto", "name", "order"):
        raise ConversionError(f"match must be 'auto', 'name' or 'order', not {match!r}")
    shapes = call.shapes()
    wanted = _by_path(shapes)
    plan = call.plan(shapes)
    sizes = {path: tuple(leaf.shape) for path, leaf in wanted.items()}
    inventory = model_inventory(plan, sizes)
    found = match_state(state, inventory, sizes, mapping, match, problems, strict=strict)
    loaded = {path for path, _ in found.layers}
    orders = feature_orders(plan, **stored_otherwise(inventory.layers, functools.partial(_rank_in_file, state, found)))
    orders = decided_orders(orders, inventory.layers, flatten_order, loaded, problems)
    planned = conversions(state, inventory, found, orders, problems)
    if strict:
        _tell(problems, state, inventory, found, _missing(inventory, found, sizes), sizes)
    return FoundWeights(state, call, shapes, planned, found)


def _by_path(variables: Any) -> dict[Path, Any]:
    """Leaves of a variable tree in leaf order."""
    return dict(zip(variable_paths(variables), jax.tree.leaves(variables), strict=True))


def _rank_in_file(state: TorchState, found: Matching, layer: ModelLayer) -> int:
    key, _ = found.layers.get((layer.path, layer.iteration), {}).get("kernel", (None, ""))
    return 0 if key is None else len(state.shape(key))


def _missing(inventory: ModelInventory, found: Matching, sizes: Mapping[Path, tuple[int, ...]]) -> list[Path]:
    """Variables that a state dict has to fill and this one does not."""
    places: dict[Path, bool] = {}
    for layer in inventory.layers:
        roles = found.layers.get((layer.path, layer.iteration), {})
        undecided = (layer.path, layer.iteration) in found.undecided
        for role, variable in layer.variables.items():
            places[variable.path] = places.get(variable.path, True) and (role in roles or undecided)
    return [path for path in sizes if path[0] in _STORED and not (places.get(path, False) or path in found.free)]


def _tell(
    problems: ImportProblems,
    state: TorchState,
    inventory: ModelInventory,
    found: Matching,
    missing: Sequence[Path],
    sizes: Mapping[Path, tuple[int, ...]],
) -> None:
    """Lists what is missing and what nothing takes."""
    for path in missing:
        reason = next((text for module, text in inventory.reasons.items() if path[1 : len(module) + 1] == module), "")
        problems.missing.append((".".join(path), sizes[path], reason))
    problems.unexpected += [(key, state.shape(key)) for key in found.unexpected]


def _own_values(call: ModelCall, given: Mapping[str, Any] | None, kept: Sequence[Path]) -> dict[Path, Any]:
    """Values of the variables that the checkpoint does not fill; nothing is computed where it fills all."""
    if not kept:
        return {}
    own = _by_path(call.init() if given is None else given)
    absent = [".".join(path) for path in kept if path not in own]
    if absent:
        raise ConversionError(f"variables: lacks {', '.join(absent)}, which the checkpoint does not fill either")
    return own

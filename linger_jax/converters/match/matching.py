"""Which tensor goes into which variable: explicit names first, then equal names, then order and shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from linger_jax.converters.files import TorchState
from linger_jax.converters.match.explicit_mapping import MappingEntry, resolve_mapping
from linger_jax.converters.match.name_matching import match_by_name, unique_by_name
from linger_jax.converters.match.order_matching import match_in_order
from linger_jax.converters.model import ModelInventory, ModelLayer, fits
from linger_jax.converters.report import TIED, ImportProblems
from linger_jax.converters.weights import (
    Signature,
    TorchModule,
    layer_signature,
    leaf_rules,
    module_signature,
    recurrent_sizes,
    torch_modules,
)
from linger_jax.typing import Path

How = Literal["mapping", "name", "order"]
MatchMode = Literal["auto", "name", "order"]
Slot = tuple[Path, int | None]


@dataclasses.dataclass
class Matching:
    """What was found.

    Attributes:
      layers: key and way of matching, by layer (path, iteration) and variable name.
      plus: key of a tensor that is added to that one, by layer and variable name.
      modules: prefix of the module that a layer was paired with as a whole.
      free: the same for variables outside layers, by path.
      dropped: keys that are left out on purpose, with the reason.
      unexpected: keys that nothing takes.
      undecided: keys, and layers, that were told as ambiguous.
    """

    layers: dict[Slot, dict[str, tuple[str, How]]] = dataclasses.field(default_factory=dict)
    plus: dict[tuple[Path, int | None, str], str] = dataclasses.field(default_factory=dict)
    modules: dict[Slot, str] = dataclasses.field(default_factory=dict)
    free: dict[Path, tuple[str, How]] = dataclasses.field(default_factory=dict)
    dropped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    unexpected: list[str] = dataclasses.field(default_factory=list)
    undecided: set[str | Slot] = dataclasses.field(default_factory=set)


def match(
    state: TorchState,
    inventory: ModelInventory,
    variables: Mapping[Path, tuple[int, ...]],
    mapping: Mapping[str, str | None],
    mode: MatchMode,
    problems: ImportProblems,
    *,
    strict: bool,
) -> Matching:
    """Matches a state dict with a model.

    Args:
      state: the checkpoint.
      layers: layers and free variables of the model.
      variables: shape of every variable.
      mapping: the user's own names, PyTorch to Flax.
      mode: what to do beyond ``mapping``.
      problems: takes what cannot be matched for sure.
      strict: whatever is left over is an error, so that it need not be decided which of several alike it is.
    """
    split = _one_layer_a_direction(inventory.layers) and any(key.endswith("_reverse") for key in state.tensors)
    if not split:  # which way a layer of one direction runs is then the model's own business
        layers = tuple(dataclasses.replace(layer, reverse=False) for layer in inventory.layers)
        inventory = dataclasses.replace(inventory, layers=layers)
    matcher = _Matcher(state, inventory, problems, strict, split)
    named = [module.prefix for module in torch_modules(state, split=split) if module.prefix != module.owner]
    entries = resolve_mapping(mapping, state.tensors.keys(), named, inventory.layers, variables.keys(), problems)
    matcher.explicit(entries, mode)
    matcher.rest("", (), mode)
    matcher.free_variables(mode)
    return matcher.finish()


def _one_layer_a_direction(layers: Sequence[ModelLayer]) -> bool:
    """Whether a bidirectional module of PyTorch is two layers of the model."""
    directions = [recurrent_sizes(layer)[2] for layer in layers if layer.kind.cell is not None]
    return 2 not in directions and any(layer.reverse for layer in layers)


class _Matcher:
    def __init__(
        self, state: TorchState, inventory: ModelInventory, problems: ImportProblems, strict: bool, split: bool
    ) -> None:
        self.state = state
        self.split = split
        self.strict = strict
        self.inventory = inventory
        self.problems = problems
        self.found = Matching()
        self.taken: set[str] = set()

    # --- what is left ---

    def modules(self, scope: str = "") -> list[TorchModule]:
        """Modules below a prefix of which no tensor is taken yet."""
        left = torch_modules(self.state, self.taken, split=self.split)
        return [m for m in left if not scope or m.prefix == scope or m.prefix.startswith(f"{scope}.")]

    def layers(self, scope: Path = (), iteration: int | None = None) -> list[ModelLayer]:
        """Layers below a path that nothing was matched with."""
        return [
            layer
            for layer in self.inventory.layers
            if layer.path[: len(scope)] == scope
            and (iteration is None or layer.iteration == iteration)
            and (layer.path, layer.iteration) not in self.found.layers
        ]

    def pair(self, module: TorchModule, layer: ModelLayer, how: How) -> None:
        """All tensors of a module that the layer has a variable for."""
        before = frozenset(self.taken)
        self.found.modules[layer.path, layer.iteration] = module.prefix
        for role, rule in leaf_rules(layer).items():
            leaf = module.leaf(rule.names)
            if leaf is not None and module.key(leaf) not in before:
                self.take(module.key(leaf), layer, role, how)
                if rule.plus is not None and rule.plus in module.leaves:
                    self.found.plus[layer.path, layer.iteration, role] = module.key(rule.plus)
                    self.taken.add(module.key(rule.plus))

    def take(self, key: str, layer: ModelLayer, role: str, how: How) -> None:
        self.found.layers.setdefault((layer.path, layer.iteration), {})[role] = (key, how)
        self.taken.add(key)

    # --- the three ways ---

    def explicit(self, entries: Sequence[MappingEntry], mode: MatchMode) -> None:
        for entry in entries:
            if entry.dropped:
                keys = [k for k in self.state.tensors if k == entry.torch or k.startswith(f"{entry.torch}.")]
                self.found.dropped += [(k, "left out by mapping") for k in keys if k not in self.taken]
                self.taken.update(keys)
            elif entry.variable is not None:
                self._variable(entry.torch, entry.variable)
            elif entry.is_key:
                self._key_into_layer(entry)
            else:
                self._module(entry, mode)

    def _variable(self, key: str, variable: Path) -> None:
        for layer in self.inventory.layers:
            for role, place in layer.variables.items():
                if place.path == variable:
                    self.take(key, layer, role, "mapping")
                    return
        self.found.free[variable] = (key, "mapping")
        self.taken.add(key)

    def _key_into_layer(self, entry: MappingEntry) -> None:
        leaf = entry.torch.rpartition(".")[2]
        for layer in self.inventory.layers:
            if layer.path == entry.module and layer.iteration == entry.iteration:
                for role, rule in leaf_rules(layer).items():
                    if leaf in rule.names:
                        self.take(entry.torch, layer, role, "mapping")
                        return
        name = ".".join(entry.module or ())
        self.problems.add_text(f"mapping: {entry.torch} cannot go into {name}: name the variable, as in {name}.kernel")

    def _module(self, entry: MappingEntry, mode: MatchMode) -> None:
        assert entry.module is not None
        exact = [m for m in self.modules() if m.prefix == entry.torch]
        layers = [s for s in self.inventory.layers if s.path == entry.module and s.iteration == entry.iteration]
        if exact and layers:
            self.pair(exact[0], layers[0], "mapping")
        else:
            self.rest(entry.torch, entry.module, mode)

    def rest(self, torch_scope: str, flax_scope: Path, mode: MatchMode) -> None:
        """Matches what is left below two names, first by name, then by order."""
        if mode in ("auto", "name"):
            left = self.modules(torch_scope), self.layers(flax_scope)
            for module, layer in match_by_name(*left, torch_scope, len(flax_scope)):
                self.pair(module, layer, "name")
        if mode == "name":
            return
        found = match_in_order(self.modules(torch_scope), self.layers(flax_scope))
        for module, layer in (*found.pairs, *found.conflicts):
            self.pair(module, layer, "order")
        if found.ambiguous is not None and not (found.partial and self.strict):
            modules, layers = found.ambiguous
            self.found.undecided.update(module.key(leaf) for module in modules for leaf in module.leaves)
            self.found.undecided.update((layer.path, layer.iteration) for layer in layers)
            self.problems.add_ambiguous(
                [(module.label, _sizes(module_signature(module))) for module in modules],
                [(layer.label, _sizes(layer_signature(layer))) for layer in layers],
            )

    def free_variables(self, mode: MatchMode) -> None:
        """Tensors and variables of no layer: by name, then by a shape that only one of each has."""
        paths = [p for p in self.inventory.free if p not in self.found.free and p[0] in ("params", "batch_stats")]
        keys = [key for key in self.state.tensors if key not in self.taken]
        if mode in ("auto", "name"):
            numbered = {i: path[1:] for i, path in enumerate(paths)}
            for key, i in unique_by_name({key: key for key in keys}, numbered):
                self._free(key, paths[i], "name")
        if mode == "name":
            return
        paths = [p for p in paths if p not in self.found.free]
        keys = [key for key in keys if key not in self.taken]
        options = {p: [k for k in keys if fits(self.state.shape(k), self.inventory.free[p])] for p in paths}
        for path, candidates in options.items():
            rivals = [p for p, others in options.items() if candidates and candidates[0] in others]
            if len(candidates) == 1 and rivals == [path]:
                self._free(candidates[0], path, "order")

    def _free(self, key: str, path: Path, how: How) -> None:
        self.found.free[path] = (key, how)
        self.taken.add(key)

    def finish(self) -> Matching:
        """Sets apart what is left: ties to tensors that were taken (or equal copies), and keys that nothing takes."""
        owners = {self.state.storage(key): key for key in self.taken}
        taken = [key for key in self.state.tensors if key in self.taken]
        for key in self.state.tensors:
            if key in self.taken or key in self.found.undecided:
                continue
            storage = self.state.storage(key)
            owner = owners.get(storage) if storage is not None else None
            owner = owner or next((other for other in taken if self.state.copied(key, other)), None)
            if owner is not None:
                self.found.dropped.append((key, f"{TIED}{owner}"))
            else:
                self.found.unexpected.append(key)
        return self.found


def _sizes(signature: Signature | None) -> str:
    return "" if signature is None else f"{signature[0]} {list(signature[1])}"

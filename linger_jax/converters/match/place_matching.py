"""Which module of a linger checkpoint goes with which place of a plan: layers, operators, nameless functions."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence

from linger_jax.converters.files import LingerState, split_quantizer_key
from linger_jax.converters.match.matching import How
from linger_jax.converters.model import MADE_UP, QuantizerPlace
from linger_jax.converters.report import ImportProblems, folded_name
from linger_jax.kinds import MATMUL
from linger_jax.typing import Path

_OPERATOR = re.compile(r"_linger_qtensor_q(?P<op>[a-z]+)_(?P<number>\d+)")
# Of so many modules all orders are tried.
_MOST_PERMUTED = 6
# Products have two names in PyTorch; JAX has one product.
_SAME_OPERATOR = {"bmm": MATMUL.name}


@dataclasses.dataclass(frozen=True)
class PlacePair:
    """A module of the checkpoint and the place of its quantizers.

    Attributes:
      module: dotted prefix in the checkpoint.
      place: of the plan.
      iteration: of the scan whose slice of the state it is, or None.
      how: how it was found.
    """

    module: str
    place: QuantizerPlace
    iteration: int | None
    how: How


def match_places(
    state: LingerState,
    places: Sequence[QuantizerPlace],
    layers: Mapping[str, tuple[str, int | None, How]],
    mapping: Mapping[str, str | None],
    problems: ImportProblems,
    entering: Mapping[Path, Path],
) -> list[PlacePair]:
    """Pairs the modules that hold quantizers with the places of a plan.

    Layers go where their weights went. Operators of an owner are paired in the order of their numbers; functions that
    are modules to linger (pools, GLU) with the module that holds nothing else. What is left is paired in order, kind by
    kind; where the scales of the checkpoint say that the order of the file is another, they decide.

    Args:
      state: the checkpoint.
      places: of the plan.
      layers: dotted path, iteration and way of matching of every module whose weights were imported.
      mapping: the user's own names, modules or keys of the checkpoint to paths of the model.
      problems: takes what fits in more than one way.
      entering: the place whose result a place reads.
    """
    matcher = _PlaceMatcher(state, places, entering)
    matcher.layers(layers)
    matcher.explicit(mapping, problems)
    matcher.by_name()
    matcher.by_owner()
    matcher.by_order(problems)
    return matcher.pairs


class _PlaceMatcher:
    def __init__(self, state: LingerState, places: Sequence[QuantizerPlace], entering: Mapping[Path, Path]) -> None:
        self.state = state
        self.entering = entering
        self.modules = {prefix: frozenset(names) for prefix, names in state.quantizers.items()}
        self.places = {place.dotted: place for place in places}
        self.pairs: list[PlacePair] = []

    def pair(self, module: str, place: QuantizerPlace, how: How, iteration: int | None = None) -> None:
        self.pairs.append(PlacePair(module, place, iteration, how))
        self.modules.pop(module)
        if iteration is None:
            self.places.pop(place.dotted)

    def layers(self, layers: Mapping[str, tuple[str, int | None, How]]) -> None:
        for module, (path, iteration, how) in layers.items():
            if module in self.modules and path in self.places:
                self.pair(module, self.places[path], how, iteration)

    def explicit(self, mapping: Mapping[str, str | None], problems: ImportProblems) -> None:
        for torch_name, flax_name in mapping.items():
            named = _site_names(torch_name, flax_name)
            if named is None or named[0] not in self.modules:
                continue
            module, path = named
            if path in self.places:
                self.pair(module, self.places[path], "mapping")
            elif module.rpartition(".")[2].startswith(MADE_UP) or path.rpartition(".")[2].startswith(MADE_UP):
                known = ", ".join(name for name, place in self.places.items() if not place.is_layer) or "none"
                problems.add_text(f"mapping: the plan has no operator {path!r}; those without state so far: {known}")

    def by_name(self) -> None:
        """Equal names, and the module that is nothing but the one function without a name.

        The number in an operator's name counts the calls of its owner: alone it says nothing (``by_owner``).
        """
        for module in [m for m in self.modules if m in self.places and _operator(m) is None]:
            if self._fit(module, self.places[module]):
                self.pair(module, self.places[module], "name")
        alone: dict[str, list[QuantizerPlace]] = {}
        for place in self.places.values():
            if not place.is_layer:
                alone.setdefault(folded_name(".".join(place.path[:-1])), []).append(place)
        for module in list(self.modules):
            places = alone.get(folded_name(module), [])
            if len(places) == 1 and places[0].path[:-1] and self._fit(module, places[0]):
                self.pair(module, places[0], "name")

    def by_owner(self) -> None:
        """Operators of one owner in the order of their numbers: all of them, or kind by kind where both have as many.

        A softmax, GELU or SiLU that is a module to linger is not counted there, so that numbers behind it differ.
        """
        for owner in dict.fromkeys(module.rpartition(".")[0] for module in self.modules if _operator(module)):
            modules = sorted((m for m in self.modules if _is_operator_of(m, owner)), key=_number)
            places = [s for s in self.places.values() if _operator(s.dotted) and _same_owner(s, owner)]
            if not self._pair_all(modules, places):
                for kind in dict.fromkeys(_operator(module) for module in modules):
                    self._pair_all(
                        [m for m in modules if _operator(m) == kind], [s for s in places if _operator(s.dotted) == kind]
                    )

    def _pair_all(self, modules: Sequence[str], places: Sequence[QuantizerPlace]) -> bool:
        if len(modules) != len(places) or not all(map(self._fit, modules, places)):
            return False
        for module, place in zip(modules, places, strict=True):
            self.pair(module, place, "name" if module == place.dotted else "order")
        return True

    def by_order(self, problems: ImportProblems) -> None:
        """What is left, kind by kind: the order of the file and the order of execution.

        Operators of several owners have no order among each other in a file; they are told as ambiguous.
        """
        places = [place for place in self.places.values() if not place.is_layer]
        for kind in dict.fromkeys(_kind_of_place(place) for place in places):
            theirs = [place for place in places if _kind_of_place(place) == kind]
            ours = sorted((m for m in self.modules if any(self._fit(m, s) for s in theirs)), key=_file_order)
            owners = {module.rpartition(".")[0] for module in ours if _operator(module)}
            chosen: Sequence[str] | None = None
            if ours and len(ours) == len(theirs) and (len(ours) == 1 or len(owners) <= 1):
                chosen = self._by_scales(ours, theirs)
            if chosen:
                for module, place in zip(chosen, theirs, strict=True):
                    self.pair(module, place, "order")
            elif ours:
                problems.add_ambiguous([(m, kind[0]) for m in ours], [(s.dotted, kind[0]) for s in theirs])

    def _by_scales(self, modules: Sequence[str], places: Sequence[QuantizerPlace]) -> Sequence[str] | None:
        """The order of the file, unless the scales follow the data in one other order only; None if in several."""
        known = {pair.place.path: pair.module for pair in self.pairs}

        def follows(order: Sequence[str]) -> bool:
            by_path = known | {place.path: module for place, module in zip(places, order, strict=True)}
            for place, module in zip(places, order, strict=True):
                before = by_path.get(self.entering.get(place.path, ()))
                scales = self._scale(module, "input_quantizer"), self._scale(before, "output_quantizer")
                if None not in scales and scales[0] != scales[1]:
                    return False
            return True

        if len(modules) == 1 or follows(modules):
            return modules
        if len(modules) > _MOST_PERMUTED:
            return None
        others = [order for order in itertools.permutations(modules) if follows(order)]
        return others[0] if len(others) == 1 else modules if not others else None

    def _scale(self, module: str | None, quantizer: str) -> float | None:
        key = None if module is None else self.state.quantizers[module].get(quantizer, {}).get("scale")
        if key is None or 0 in self.state.source.shape(key):
            return None
        return float(self.state.source.raw(key).reshape(-1)[0])

    def _fit(self, module: str, place: QuantizerPlace) -> bool:
        """Whether a module has the quantizers of a place and is the same operator, as far as its name says."""
        if self.modules[module] != frozenset(place.quantizers):
            return False
        ours, theirs = _operator(module), _operator(place.dotted)
        return ours is None or theirs is None or ours == theirs


def _site_names(torch_name: str, flax_name: str | None) -> tuple[str, str] | None:
    """Module and place of an entry of the user's mapping, which may name one entry of a quantizer (``quant.``...)."""
    if flax_name is None:
        return None
    flax_name = flax_name.replace("/", ".")
    ours, theirs = split_quantizer_key(torch_name), split_quantizer_key(flax_name)
    module = torch_name if ours is None else ours[0]
    path = flax_name if theirs is None else theirs[0]
    return module, path.removeprefix("quant.").removeprefix("params.") if theirs is not None else path


def _operator(name: str) -> str | None:
    found = _OPERATOR.fullmatch(name.rpartition(".")[2])
    return None if found is None else _SAME_OPERATOR.get(found["op"], found["op"])


def _number(name: str) -> int:
    found = _OPERATOR.fullmatch(name.rpartition(".")[2])
    return -1 if found is None else int(found["number"])


def _is_operator_of(module: str, owner: str) -> bool:
    return _operator(module) is not None and module.rpartition(".")[0] == owner


def _same_owner(place: QuantizerPlace, owner: str) -> bool:
    return folded_name(".".join(place.path[:-1])) == folded_name(owner)


def _kind_of_place(place: QuantizerPlace) -> tuple[str, frozenset[str]]:
    return place.op, frozenset(place.quantizers)


def _file_order(module: str) -> tuple[str, int]:
    """Operators by owner and number; ``sorted`` keeps the file's order of everything else."""
    return (module.rpartition(".")[0], _number(module)) if _operator(module) else ("", -1)

"""Matching by order and shape along the data flow.

A state dict lists modules in the order of their registration, a plan lists layers in the order of execution. Where the
two differ (a shortcut registered behind the block that it goes around, a classifier registered first) the pairing must
still be the only one that keeps as much order as possible; otherwise it is ambiguous, and nothing is paired.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from linger_jax.converters.model import ModelLayer
from linger_jax.converters.weights import Signature, TorchModule, layer_signature, module_signature, same_sort
from linger_jax.kinds import TorchSort

Pair = tuple[TorchModule, ModelLayer]


@dataclasses.dataclass(frozen=True)
class OrderMatch:
    """Result of matching by order.

    Attributes:
      pairs: what belongs together.
      conflicts: what stands in each other's place and has different sizes.
      ambiguous: modules and layers that fit together in more than one way.
      partial: the two sides do not hold the same layers, so that something is left over whatever is paired.
    """

    pairs: tuple[Pair, ...] = ()
    conflicts: tuple[Pair, ...] = ()
    ambiguous: tuple[tuple[TorchModule, ...], tuple[ModelLayer, ...]] | None = None
    partial: bool = False


@dataclasses.dataclass(frozen=True)
class _Unit:
    """Neighbours that are matched as one: a product, and the batch norm that reads its result."""

    members: tuple[int, ...]
    signature: Hashable


def match_in_order(modules: Sequence[TorchModule], layers: Sequence[ModelLayer]) -> OrderMatch:
    """Pairs modules (in the order of the file) with layers (in the order of execution)."""
    modules = [m for m in modules if module_signature(m) is not None]
    layers = [s for s in layers if layer_signature(s) is not None]
    if len(modules) > len(layers):
        distinct = [m for m in modules if m.tied is None or all(m.tied != other.prefix for other in modules)]
        modules = distinct if len(distinct) >= len(layers) else modules
    ours: list[Signature] = [s for m in modules if (s := module_signature(m)) is not None]
    theirs: list[Signature] = [s for t in layers if (s := layer_signature(t)) is not None]

    def pairs(indices: Sequence[tuple[int, int]]) -> tuple[Pair, ...]:
        return tuple((modules[i], layers[j]) for i, j in sorted(indices, key=lambda pair: pair[1]))

    if ours == theirs:
        return OrderMatch(pairs([(i, i) for i in range(len(ours))]))
    if Counter(ours) == Counter(theirs):
        if len(set(ours)) == len(ours):
            return OrderMatch(pairs([(ours.index(signature), j) for j, signature in enumerate(theirs)]))
        units = _module_units(ours), _layer_units(layers, theirs)
        found = _by_sort(*units) or _unique(*units) or _unique(_singles(ours), _singles(theirs))
        if found is not None:
            return OrderMatch(pairs(found))
        start, end = _common_ends(ours, theirs)
        ends = [*range(start), *range(len(ours) - end, len(ours))]
        between = tuple(modules[start : len(ours) - end]), tuple(layers[start : len(theirs) - end])
        return OrderMatch(pairs([(i, i) for i in ends]), ambiguous=between)
    if len(ours) == len(theirs) and all(same_sort(a, b) for a, b in zip(ours, theirs, strict=True)):
        at = range(len(ours))
        return OrderMatch(
            pairs([(i, i) for i in at if ours[i] == theirs[i]]), pairs([(i, i) for i in at if ours[i] != theirs[i]])
        )
    common, unique = _longest_common([*ours], [*theirs])
    left = [i for i in range(len(ours)) if i not in {a for a, _ in common}]
    right = [j for j in range(len(theirs)) if j not in {b for _, b in common}]
    conflicts = []
    if len(left) == len(right) and all(same_sort(ours[i], theirs[j]) for i, j in zip(left, right, strict=True)):
        conflicts = list(zip(left, right, strict=True))
    unsure = not unique or {ours[i] for i in left} & {theirs[j] for j in right}
    return OrderMatch(
        pairs(common), pairs(conflicts), (tuple(modules), tuple(layers)) if unsure else None, partial=True
    )


# --- units ---


def _singles(signatures: Sequence[Signature]) -> list[_Unit]:
    return [_Unit((i,), signature) for i, signature in enumerate(signatures)]


def _paired(signatures: Sequence[Signature], belongs: Callable[[int], int | None]) -> list[_Unit]:
    """Units where the batch norm ``i`` belongs to the product ``belongs(i)``, in the order of the products."""
    norms = {before: i for i in range(len(signatures)) if (before := belongs(i)) is not None}
    attached = set(norms.values())
    units = []
    for i, signature in enumerate(signatures):
        if i in attached:
            continue
        if i in norms:
            units.append(_Unit((i, norms[i]), (signature, signatures[norms[i]])))
        else:
            units.append(_Unit((i,), signature))
    return units


def _module_units(signatures: Sequence[Signature]) -> list[_Unit]:
    """A batch norm belongs to the product registered right before it."""

    def belongs(i: int) -> int | None:
        if i == 0 or signatures[i][0] is not TorchSort.batch_norm or signatures[i - 1][0] is not TorchSort.product:
            return None
        channels = signatures[i][1]
        return i - 1 if channels and channels[0] in signatures[i - 1][1][:2] else None

    return _paired(signatures, belongs)


def _layer_units(layers: Sequence[ModelLayer], signatures: Sequence[Signature]) -> list[_Unit]:
    """A batch norm belongs to the product whose result it reads."""
    at = {(layer.path, layer.iteration): i for i, layer in enumerate(layers)}

    def belongs(i: int) -> int | None:
        if signatures[i][0] is not TorchSort.batch_norm or layers[i].follows is None:
            return None
        before = at.get((layers[i].follows, layers[i].iteration))  # type: ignore[arg-type]
        return before if before is not None and signatures[before][0] is TorchSort.product else None

    return _paired(signatures, belongs)


# --- alignments ---


def _members(ours: _Unit, theirs: _Unit) -> list[tuple[int, int]]:
    return list(zip(ours.members, theirs.members, strict=True))


def _by_sort(ours: Sequence[_Unit], theirs: Sequence[_Unit]) -> list[tuple[int, int]] | None:
    """Each sort of unit stands in the same order on both sides; only the sorts are interleaved differently."""
    lone = Counter(unit.signature for unit in ours if _sort(unit)[0] is TorchSort.batch_norm)
    if any(count > 1 for count in lone.values()):
        return None  # norms of equal size that belong to no product: their own order proves nothing
    sorts = dict.fromkeys(_sort(unit) for unit in ours)
    found = []
    for sort in sorts:
        left = [unit for unit in ours if _sort(unit) == sort]
        right = [unit for unit in theirs if _sort(unit) == sort]
        if [u.signature for u in left] != [u.signature for u in right]:
            return None
        found += [pair for a, b in zip(left, right, strict=True) for pair in _members(a, b)]
    return found if len(ours) == len(theirs) else None


def _sort(unit: _Unit) -> tuple[str, int]:
    signature = unit.signature
    assert isinstance(signature, tuple)
    first = signature[0] if len(unit.members) > 1 else signature
    return first[0], len(first[1])


def _unique(ours: Sequence[_Unit], theirs: Sequence[_Unit]) -> list[tuple[int, int]] | None:
    """The one alignment that moves the fewest units, where there is only one."""
    if Counter(u.signature for u in ours) != Counter(u.signature for u in theirs):
        return None
    common, unique = _longest_common([u.signature for u in ours], [u.signature for u in theirs])
    if not unique:
        return None
    left = [i for i in range(len(ours)) if i not in {a for a, _ in common}]
    moved = Counter(ours[i].signature for i in left)
    if any(count > 1 for count in moved.values()):
        return None
    places = {theirs[j].signature: j for j in range(len(theirs)) if j not in {b for _, b in common}}
    common = [*common, *((i, places[ours[i].signature]) for i in left)]
    return [pair for i, j in common for pair in _members(ours[i], theirs[j])]


def _longest_common(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> tuple[list[tuple[int, int]], bool]:
    """A longest common subsequence, and whether it is the only one."""
    rows, columns = len(ours), len(theirs)
    before = [[0] * (columns + 1) for _ in range(rows + 1)]
    after = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows):
        for j in range(columns):
            same = before[i][j] + 1 if ours[i] == theirs[j] else 0
            before[i + 1][j + 1] = max(same, before[i][j + 1], before[i + 1][j])
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            same = after[i + 1][j + 1] + 1 if ours[i] == theirs[j] else 0
            after[i][j] = max(same, after[i + 1][j], after[i][j + 1])
    length = before[rows][columns]
    on_some = [
        (i, j)
        for i in range(rows)
        for j in range(columns)
        if ours[i] == theirs[j] and before[i][j] + 1 + after[i + 1][j + 1] == length
    ]
    if len(on_some) == length:
        return on_some, True
    chain: list[tuple[int, int]] = []
    for i, j in on_some:
        if before[i][j] == len(chain) and (not chain or (i > chain[-1][0] and j > chain[-1][1])):
            chain.append((i, j))
    return chain, False


def _common_ends(ours: Sequence[Signature], theirs: Sequence[Signature]) -> tuple[int, int]:
    """How many layers at the front and at the end are beyond doubt: in the same place, and unlike all between."""
    shorter = min(len(ours), len(theirs))
    start = next((i for i in range(shorter) if ours[i] != theirs[i]), shorter)
    end = next((i for i in range(shorter - start) if ours[-1 - i] != theirs[-1 - i]), shorter - start)
    while True:
        between = {*ours[start : len(ours) - end], *theirs[start : len(theirs) - end]}
        if start and ours[start - 1] in between:
            start -= 1
        elif end and ours[-end] in between:
            end -= 1
        else:
            return start, end

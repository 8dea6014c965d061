"""A batch over eight devices against one device, in one process."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.parallel.course import Place, course, differences
from tests.parallel.networks import METHODS, NETWORKS
from tests.parallel.verdict import Case

DEVICES = 8
NAMES = tuple((name, method) for name in NETWORKS for method in METHODS)


def over(devices: Iterable[jax.Device]) -> Place:
    """A place of several devices of this process."""
    mesh = Mesh(np.array(list(devices)), ("batch",))
    spread, everywhere = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())
    return Place(
        lambda x: jax.device_put(x, spread),
        lambda tree: jax.device_put(tree, everywhere),
        lambda tree: jax.device_put(tree, jax.tree.map(lambda leaf: part(leaf, mesh), tree)),
    )


def part(leaf: Any, mesh: Mesh) -> NamedSharding:
    """How a variable is divided over the devices: along its last axis, if that is long enough."""
    divides = np.ndim(leaf) and np.shape(leaf)[-1] % mesh.size == 0
    spec = PartitionSpec(*[None] * (np.ndim(leaf) - 1), "batch") if divides else PartitionSpec()
    return NamedSharding(mesh, spec)


def compare(name: str, method: str, many: Place) -> list[str]:
    """What differs between one device and many for a network."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = course(NETWORKS[name], METHODS[method], Place(), Path(folder))
        found = course(NETWORKS[name], METHODS[method], many, Path(folder), lead=wanted)
    return differences(found, wanted, to_the_bit=False)


def cases() -> Iterator[Case]:
    """All networks by both methods."""
    assert len(jax.devices()) == DEVICES, jax.devices()
    many = over(jax.devices())
    for name, method in NAMES:
        yield Case(f"{name}, {method}", functools.partial(compare, name, method, many))

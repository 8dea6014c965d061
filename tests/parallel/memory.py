"""Whether memory stays flat over many cycles of a model's life, and over many steps."""

from __future__ import annotations

import dataclasses
import gc
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import psutil

import linger_jax
from linger_jax.api.quantized_model import KEPT
from tests.models import drawn
from tests.parallel.networks import METHODS, NETWORKS, Network
from tests.parallel.verdict import Case

MOST_GROWTH = 24 << 20
"""Bytes that the resident memory may grow by in the second half: what an allocator keeps, and gives back at times of
its own. A life that is not forgotten leaves a plan and its programs, about a megabyte."""
_OBJECTS = 20
"""Of Python, that may be new after the second half: those of measuring. A life that leaves anything leaves more."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a process holds.

    Attributes:
      resident: bytes of memory.
      arrays, programs: of JAX, that are alive.
      objects: of Python, that its collector knows and no cache of JAX holds: those are bounded by JAX, and hold
        thousands of entries before they forget one.
    """

    resident: int
    arrays: int
    programs: int
    objects: int

    @classmethod
    def now(cls) -> Sizes:
        """Empties the caches of JAX, so that both halves of the rounds begin without them."""
        gc.collect()
        resident = psutil.Process().memory_info().rss
        arrays, programs = len(jax.live_arrays()), len(jax.devices()[0].client.live_executables())
        jax.clear_caches()
        gc.collect()
        return cls(resident, arrays, programs, len(gc.get_objects()))


class Watched:
    """Rounds of something, and the sizes after each half of them.

    Args:
      name: of the case.
      rounds: how many.
      once: one of them, by its number.
      before: rounds until what is kept of the last ones is complete.
    """

    def __init__(self, name: str, rounds: int, once: Callable[[int], object], before: int = 2) -> None:
        self.name, self._rounds, self._once, self._before = name, rounds, once, before

    def compare(self) -> list[str]:
        """What grew in the second half."""
        for i in range(self._before):
            self._once(i)
        Sizes.now()
        halves = []
        for half in range(2):
            for i in range(self._rounds // 2):
                self._once(half * (self._rounds // 2) + i)
            halves.append(Sizes.now())
        self._middle, self._end = halves
        limits = Sizes(MOST_GROWTH, 0, 0, _OBJECTS)
        grown = {f.name: getattr(self._end, f.name) - getattr(self._middle, f.name) for f in dataclasses.fields(Sizes)}
        return [f"{name} grew by {by}" for name, by in grown.items() if by > getattr(limits, name)]

    def measured(self) -> str:
        middle, end = self._middle, self._end
        memory = f"{middle.resident >> 20} to {end.resident >> 20} MiB"
        counts = [f"{getattr(middle, of)} to {getattr(end, of)} {of}" for of in ("arrays", "programs", "objects")]
        return ", ".join([f"{self._rounds} rounds: {memory}", *counts])

    def case(self) -> Case:
        return Case(self.name, self.compare, self.measured)


def life(network: Network, config: Any, number: int) -> None:
    """A model from its configuration to its files."""
    x = network.batch(number % 4)
    qmodel = linger_jax.init(network.model, {**network.config, **config})
    variables = qmodel.adopt(drawn(network.model, x), x)
    if number % 2:
        variables = linger_jax.calibrate(qmodel, variables, [x], progress=False)
    else:
        with linger_jax.calibration():
            _, updates = jax.jit(qmodel.apply)(variables, x)
        variables = {**variables, **updates}
    qmodel.apply(variables, x)
    with tempfile.TemporaryDirectory() as folder:
        linger_jax.export_onnx(qmodel, variables, x, Path(folder, "model.onnx"), strict=False)


class Training:
    """Steps of one model, compiled by its ``apply`` or in loops of the user's."""

    LOOP = 20
    """Steps that one compiled loop does."""

    def __init__(self) -> None:
        network = NETWORKS["cnn"]
        self.x = jax.device_put(network.batch(0))
        self.qmodel = linger_jax.init(network.model, METHODS["MOM"])
        self.variables = self.qmodel.adopt(drawn(network.model, self.x), self.x)
        self._loop = jax.jit(self._steps)

    def step(self, variables: Any) -> Any:
        _, updates = self.qmodel.apply(variables, self.x, mutable=["quant"])
        return {**variables, **updates}

    def eagerly(self, _: int) -> None:
        self.variables = self.step(self.variables)

    def in_a_loop(self, _: int) -> None:
        self.variables = self._loop(self.variables)

    def _steps(self, variables: Any) -> Any:
        return jax.lax.fori_loop(0, self.LOOP, lambda _, v: self.step(v), variables)

    def by_other_functions(self, number: int) -> None:
        """A method made anew for each call, as a lambda in a loop is."""
        self.qmodel.apply(self.variables, self.x, method=lambda model, x: model(x))


def cases(cycles: int, steps: int) -> Iterator[Case]:
    """Lives of models, steps, and calls of which each is another."""
    training = Training()
    yield Watched("steps by apply", steps, training.eagerly).case()
    yield Watched(f"loops of {Training.LOOP} steps", steps // Training.LOOP, training.in_a_loop).case()
    yield Watched("calls by functions made anew", cycles, training.by_other_functions, before=KEPT).case()
    network = NETWORKS["cnn"]
    for method, config in METHODS.items():
        once = lambda number, config=config: life(network, config, number)  # noqa: E731
        yield Watched(f"lives of models, {method}", cycles // len(METHODS), once).case()

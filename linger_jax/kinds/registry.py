"""What a room does for each kind of step: functions that are registered where they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from linger_jax.kinds.kind import Kind

Function = TypeVar("Function", bound=Callable[..., object])


class Registry(Generic[Function]):
    """The functions of one phase, one a kind.

    A room makes one and uses it as a decorator::

        interprets: Registry[InterpreterRule] = Registry("interpret")

        @interprets(EMBED)
        def embed(ctx, node, operands): ...

    Modules that register something are imported by their room's face: whoever imports the room has all of it.
    """

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self._functions: dict[Kind, Function] = {}

    def __call__(self, *kinds: Kind) -> Callable[[Function], Function]:
        """A decorator that registers a function for some kinds.

        Raises:
          TypeError: a kind has a function already.
        """

        def register(function: Function) -> Function:
            for kind in kinds:
                if kind in self._functions:
                    raise TypeError(f"{self.phase}: {kind.name} has two functions")
                self._functions[kind] = function
            return function

        return register

    def get(self, kind: Kind | None) -> Function | None:
        """The function of a kind, or None."""
        return None if kind is None else self._functions.get(kind)

    def __contains__(self, kind: object) -> bool:
        return kind in self._functions

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._functions)

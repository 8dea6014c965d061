"""Who owns an operator: the innermost module whose body runs (docs/specification/ops.md section 7)."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from linger_jax.typing import Path

CALL = "__call__"


@dataclasses.dataclass(frozen=True)
class Composite:
    """A module that runs as float as a whole, with everything inside it.

    Attributes:
      path: of the outermost such module.
      type_name: name of its class.
      what: what it is, in words.
    """

    path: Path
    type_name: str
    what: str


@dataclasses.dataclass(frozen=True)
class Owner:
    """One activation of a module that is not a layer: it owns the operators that its body runs.

    Attributes:
      path: of the module.
      state_path: path below which its operators keep their state. A method that is entered from outside has a place of
        its own, ``path`` and the method's name, since its operators are not those of ``__call__``.
      serial: number of the activation; operators are counted by it.
      is_call: the activation is one of ``__call__``.
      module_types: class of the module and of those around it, innermost first.
      composite: the float composite that the module is or stands in, if any.
      around: the activation around this one.
    """

    path: Path
    state_path: Path
    serial: int
    is_call: bool = False
    module_types: tuple[type, ...] = ()
    composite: Composite | None = None
    around: Owner | None = None


class OwnerStack:
    """The activations around the equation that is looked at; regions of control flow start from a copy."""

    def __init__(self, serials: itertools.count[int]) -> None:
        self._serials = serials
        self._active = [Owner((), (), next(serials))]

    @property
    def current(self) -> Owner:
        """The innermost activation; outside every module an owner of no module."""
        return self._active[-1]

    def copy(self) -> OwnerStack:
        """A stack for a region, with the same activations."""
        other = OwnerStack.__new__(OwnerStack)
        other._serials, other._active = self._serials, list(self._active)
        return other

    def scope(self, marker: dict[str, Any]) -> None:
        """Applies one scope marker, given its parameters."""
        if not marker["enter"]:
            self._active.pop()
            return
        path, current = marker["path"], self.current
        composite = current.composite
        if composite is None and marker["composite"]:
            composite = Composite(path, marker["module_type"].__name__, marker["composite"])
        running = next((o for o in reversed(self._active) if o.path == path and o.module_types), None)
        if running is not None and running.composite == composite:
            # A method of a module whose body runs already: its operators are that body's.
            self._active.append(running)
            return
        is_call = marker["method"] == CALL
        # What a function given as ``method=`` computes beside the root's __call__ is counted together with it.
        at_top = path == () and is_call and current.around is None and not current.module_types
        self._active.append(
            Owner(
                path=path,
                state_path=path if is_call else (*path, marker["method"]),
                serial=current.serial if at_top else next(self._serials),
                is_call=is_call,
                module_types=(marker["module_type"], *current.module_types),
                composite=composite,
                around=current,
            )
        )

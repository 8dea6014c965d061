"""Whether a call calibrates: what a ``with`` statement says of the code inside it, and of no other.

Two things must agree on that. Our code asks a context variable, which every asyncio task and every thread has for
itself. ``jax.jit`` asks a value of the thread that is part of its cache key, so that a function which was compiled
outside is traced again inside; while a task inside waits, the other tasks of its thread have that value too. So a value
under which anything of ours was traced is never used again: inside an open context, whoever calls, a compiled function
is traced anew and asks the context variable.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import inspect
import itertools
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax

from linger_jax.compat import is_tracer, user_context

_GENERATORS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_CONTEXTLIB = contextlib.contextmanager.__code__.co_filename
_OUTSIDE = 0

_key_value = user_context(_OUTSIDE)
_fresh_values = itertools.count(1)
_unused_values: list[int] = []
"""Values of closed contexts under which nothing was traced: what else was compiled under them is used again."""


class _Thread(threading.local):
    """What is open in this thread."""

    def __init__(self) -> None:
        self.entered: set[_Entry] = set()


@dataclasses.dataclass(eq=False)
class _Entry:
    """One ``with`` statement that was entered.

    Attributes:
      around: the one around it.
      entered: the open entries of its thread.
      generator: the body of the generator that it stands in, if it stands in one: a generator that waits has handed
        control to code outside the statement, in the same context.
    """

    around: _Entry | None
    entered: set[_Entry]
    generator: FrameType | None

    @property
    def is_open(self) -> bool:
        return self in self.entered

    def holds(self) -> bool:
        """Whether the code that asks runs inside the statement."""
        is_here = self.is_open and self.entered is _thread.entered
        return is_here and (self.generator is None or any(frame is self.generator for frame in _stack()))


_thread = _Thread()
_innermost: contextvars.ContextVar[_Entry | None] = contextvars.ContextVar("linger_jax_calibration", default=None)


def is_calibrating() -> bool:
    """Whether the code that asks runs inside a calibration context."""
    entry = _innermost.get()
    while entry is not None and not entry.holds():
        entry = entry.around
    return entry is not None


@contextlib.contextmanager
def calibrating() -> Iterator[None]:
    """Within this context ``is_calibrating``."""
    if not _thread.entered and _key_value.value == _OUTSIDE:
        _set_key_value(_unused_value())
    entry = _Entry(_innermost.get(), _thread.entered, _generator_around())
    entry.entered.add(entry)
    _innermost.set(entry)
    try:
        yield
    finally:
        entry.entered.discard(entry)
        entry.generator = None
        inner = _innermost.get()
        while inner is not None and not inner.is_open:
            inner = inner.around
        _innermost.set(inner)
        if not _thread.entered and _key_value.value != _OUTSIDE:
            _unused_values.append(_key_value.value)
            _set_key_value(_OUTSIDE)


def uncalibrated_key() -> contextlib.AbstractContextManager[None]:
    """Within this context compiled functions are those of code outside: ours know by themselves who calibrates."""
    context: contextlib.AbstractContextManager[None] = _key_value(_OUTSIDE)
    return context


def forget_trace(*results: Any) -> None:
    """Sees to it that what a user's own ``jit`` traces inside an open context is not used again.

    Args:
      *results: what it gets of us; without tracers among it nothing is being traced.
    """
    if _key_value.value != _OUTSIDE and any(map(is_tracer, jax.tree.leaves(results))):
        _set_key_value(_unused_value() if _thread.entered else _OUTSIDE)


def _unused_value() -> int:
    try:
        return _unused_values.pop()
    except IndexError:
        return next(_fresh_values)


def _set_key_value(value: int) -> None:
    """Contexts of tasks do not end in the order in which they began: the value is set, never restored."""
    _key_value(value).__enter__()


def _generator_around() -> FrameType | None:
    """The generator in whose body the ``with`` statement stands that is being entered.

    A generator that is a context manager by ``contextlib`` only stands for the ``with`` statement that it serves.
    """
    for frame in itertools.islice(_stack(), 1, None):
        is_generator = bool(frame.f_code.co_flags & _GENERATORS)
        serves = is_generator and frame.f_back is not None and _is_contextlib(frame.f_back)
        if not serves and not _is_contextlib(frame):
            return frame if is_generator else None
    return None


def _is_contextlib(frame: FrameType) -> bool:
    return frame.f_code.co_filename == _CONTEXTLIB


def _stack() -> Iterator[FrameType]:
    """The frames of the code that is running, innermost first, from the one that asks."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back

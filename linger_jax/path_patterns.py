"""Which module paths a pattern names: ``disable_submodel`` and the parts of a configuration use the same rule.

A path is dotted (``block.conv1``); the root module's path is the empty string. A pattern names one module and
everything below it. A trailing ``*`` says the same and is dropped: ``fc1``, ``fc1*`` match ``fc1`` and ``fc1.gate``,
never ``fc10``. A ``*`` by itself names the whole model. See docs/specification/config.md sections 1.2 and 2.2.
"""

from __future__ import annotations

from collections.abc import Iterable


def matches(pattern: str, path: str, *, literal: bool = False) -> bool:
    """Tells whether ``pattern`` names the module at ``path`` or one of its ancestors.

    ``literal`` compares as the reference toolkit does: a ``*`` is an ordinary character, so ``fc1*`` names nothing.
    """
    if literal:
        return path == pattern or path.startswith(f"{pattern}.")
    if pattern == "*":
        return True
    name = pattern.removesuffix("*")
    return path == name or path.startswith(f"{name}.")


def unmatched(patterns: Iterable[str], paths: Iterable[str], *, literal: bool = False) -> tuple[str, ...]:
    """Returns the patterns that name none of ``paths``, in their order."""
    known = tuple(paths)
    return tuple(p for p in patterns if not any(matches(p, path, literal=literal) for path in known))

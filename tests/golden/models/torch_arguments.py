"""Arguments of PyTorch layers as the files give them (``meta.ctor``), with PyTorch's defaults and window geometry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tests.golden.outcome import NotSupportedError


class Arguments:
    """Arguments of one layer; those that nobody reads make the case unsupported, so that none is ignored."""

    def __init__(self, op: str, given: Mapping[str, Any] | None) -> None:
        self.op = op
        self._given = dict(given or {})
        self._read: set[str] = set()

    def take(self, name: str, default: Any = None) -> Any:
        """The argument, or PyTorch's default where it is not given."""
        self._read.add(name)
        return self._given.get(name, default)

    def each_axis(self, name: str, default: Any, axes: int) -> tuple[int, ...]:
        """An argument that is one number or one an axis; ``None`` takes the default."""
        value = self.take(name, default)
        value = default if value is None else value
        if isinstance(value, str):
            raise NotSupportedError(f"{self.op}: {name}={value!r}")
        return tuple(int(v) for v in value) if isinstance(value, Sequence) else (int(value),) * axes

    def only(self, name: str, default: Any) -> None:
        """Refuses any value but PyTorch's default."""
        value = self.take(name, default)
        if value != default:
            raise NotSupportedError(f"{self.op}: {name}={value!r}")

    def finish(self) -> None:
        """Refuses arguments that nothing has read."""
        left = sorted(set(self._given) - self._read)
        if left:
            raise NotSupportedError(f"{self.op}: unknown argument {', '.join(left)}")


def overhang(extent: int, kernel: int, stride: int, padding: int, *, ceil_mode: bool) -> int:
    """Cells by which the last window of a pool reaches beyond the padded input.

    PyTorch with ``ceil_mode``: one more window where the stride leaves a rest, unless that would start in the padding.
    """
    if not ceil_mode:
        return 0
    padded = extent + 2 * padding
    windows = math.ceil((padded - kernel) / stride) + 1
    if (windows - 1) * stride >= extent + padding:
        windows -= 1
    return max(0, (windows - 1) * stride + kernel - padded)

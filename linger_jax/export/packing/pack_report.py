"""``PackReport``: what a package needs of the device."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.table import Table

from linger_jax.config import Platform


@dataclasses.dataclass(frozen=True)
class MemoryUse:
    """Bytes of one kind of memory.

    Attributes:
      kind: ``share memory`` or ``PSRAM``.
      used: what the package takes.
      available: what the device has; None where that is not known.
    """

    kind: str
    used: int
    available: int | None = None


@dataclasses.dataclass(frozen=True)
class PackReport:
    """A package.

    Attributes:
      path: the package.
      platform: the chip that it is for.
      options: arguments that the packer was given besides file and platform.
      memory: use of each kind of memory.
      operations: of one run, as the packer counts them; None where it does not say.
      package_bytes: size of the package.
    """

    path: Path
    platform: Platform
    options: tuple[str, ...]
    memory: tuple[MemoryUse, ...]
    operations: int | None
    package_bytes: int

    def table(self) -> Table:
        """Memory by kind, for ``rich``."""
        table = Table(title=f"memory on {self.platform.value}")
        table.add_column("memory")
        for column in ("bytes", "of", "used"):
            table.add_column(column, justify="right")
        for use in self.memory:
            limit = ("", "") if not use.available else (f"{use.available:,}", f"{use.used / use.available:.1%}")
            table.add_row(use.kind, f"{use.used:,}", *limit)
        return table

    @property
    def summary(self) -> str:
        """One line."""
        count = "" if self.operations is None else f", {self.operations:,} operations a run"
        options = f", packed with {' '.join(self.options)}" if self.options else ""
        return f"package of {self.package_bytes:,} bytes for {self.platform.value}{count}{options}"

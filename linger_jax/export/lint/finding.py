"""What the lint says about one node."""

from __future__ import annotations

import dataclasses
import enum

from linger_jax.export.lint.pack_options import NO_OPTIONS, PackOptions
from linger_jax.kinds import LINGER, full_name


class Severity(enum.StrEnum):
    """What happens to the file."""

    refuse = enum.auto()
    """The packer stops, or makes a package that the executor cannot load."""
    differs = enum.auto()
    """The file packs, but the executor crashes or computes other integers."""
    note = enum.auto()
    """Nothing is wrong once ``options`` are given to the packer, or something has not been measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """What a check has to say, before it is known about which node.

    Attributes:
      severity: what happens.
      found: the value in the file.
      limit: what the device takes.
      remedy: what to change in the model or its configuration.
      edit: rewrite of the dialect ``thinker`` that removes the problem; empty where there is none.
      options: packer options that are the remedy.
    """

    severity: Severity
    found: str
    limit: str
    remedy: str
    edit: str = ""
    options: PackOptions = NO_OPTIONS


def refuses(found: str, limit: str, remedy: str, edit: str = "") -> Problem:
    """A problem at which the packer stops."""
    return Problem(severity=Severity.refuse, found=found, limit=limit, remedy=remedy, edit=edit)


def differs(found: str, limit: str, remedy: str, edit: str = "") -> Problem:
    """A problem that packs, and that the executor computes otherwise."""
    return Problem(severity=Severity.differs, found=found, limit=limit, remedy=remedy, edit=edit)


def notes(found: str, limit: str, remedy: str, options: PackOptions = NO_OPTIONS) -> Problem:
    """Nothing is wrong once the packer is told ``options``, or something has not been measured.

    Args:
      found, limit, options: as in ``Problem``.
      remedy: what to do; the options, if any, end the sentence.
    """
    told = f"{remedy} {options}" if options else remedy
    return Problem(severity=Severity.note, found=found, limit=limit, remedy=told, options=options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding(Problem):
    """A problem of a node.

    Attributes:
      check: name of the check.
      node: name of the node; empty for the whole file.
      op: operator as the file writes it.
      layer: dotted path of the module that made the node; empty in files of others.
    """

    check: str
    node: str
    op: str
    layer: str

    @property
    def blocks(self) -> bool:
        """Whether the device will not compute what the file says."""
        return self.severity is not Severity.note

    @property
    def refuses_operator(self) -> bool:
        """Whether the operator itself is the problem; ``limit`` is the reason then, and no allowed value."""
        return self.found.removeprefix(full_name(LINGER, "")) == self.op

    @property
    def place(self) -> str:
        """Layer and node, as far as they are known."""
        return f"{self.layer} ({self.node})" if self.layer and self.node else self.layer or self.node or "file"

    @property
    def told(self) -> str:
        """What was found, what is allowed, and what to do."""
        limit = f": {self.limit}" if self.refuses_operator else f"; allowed: {self.limit}"
        return f"{self.found}{limit}. {self.remedy.removesuffix('.')}."

    def __str__(self) -> str:
        return f"{self.severity.value}: {self.place}: {self.check}: {self.told}"

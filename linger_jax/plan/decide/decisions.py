"""What a planning run has decided so far: quantizers, their names, and the loops around the place it stands at."""

from __future__ import annotations

import dataclasses
from collections import Counter

from linger_jax.plan.graph import FileLayout, Node, Owner, Quantizer, Scan
from linger_jax.plan.settings import PlanSettings
from linger_jax.quantizers import QuantizerSpec
from linger_jax.typing import Path

Bits = int | None
"""Bits of a value that is a QTensor; None for a float."""


@dataclasses.dataclass
class _Decided:
    quantizers: dict[Path, Quantizer] = dataclasses.field(default_factory=dict)
    stacks: dict[Path, tuple[Scan, ...]] = dataclasses.field(default_factory=dict)
    counters: Counter[tuple[int, str]] = dataclasses.field(default_factory=Counter)
    touched: dict[Path, None] = dataclasses.field(default_factory=dict)
    weights: dict[Path, Path] = dataclasses.field(default_factory=dict)
    warnings: dict[str, None] = dataclasses.field(default_factory=dict)

    def copy(self) -> _Decided:
        return _Decided(
            dict(self.quantizers),
            dict(self.stacks),
            Counter(self.counters),
            dict(self.touched),
            dict(self.weights),
            dict(self.warnings),
        )


class Decisions:
    """The record that the planning functions of layers, operators and pools write to; one a planning run.

    Attributes:
      settings: what the user asked for.
      scans: the scans around the place, outermost first.
      parameter_scans: those of them that iterate over parameters: state inside is stacked likewise.
    """

    def __init__(self, settings: PlanSettings) -> None:
        self.settings = settings
        self.scans: tuple[Scan, ...] = ()
        self.parameter_scans: tuple[Scan, ...] = ()
        self._decided = _Decided()

    @property
    def quantizers(self) -> dict[Path, Quantizer]:
        """Every quantizer so far, by path."""
        return self._decided.quantizers

    @property
    def weights(self) -> dict[Path, Path]:
        """The weight quantizer of each parameter that a layer reads as it is stored; the first to read it names it."""
        return self._decided.weights

    def stack_of(self, path: Path) -> tuple[Scan, ...]:
        """The scans that iterate over the state of a quantizer."""
        return self._decided.stacks[path]

    def add(
        self,
        path: Path,
        spec: QuantizerSpec,
        stack: tuple[Scan, ...],
        *,
        active: bool,
        parameter: Path | None = None,
        pieces: tuple[Path, ...] = (),
        layout: FileLayout | None = None,
        fixed_scale: float | None = None,
        limited_by: tuple[Path, ...] = (),
    ) -> None:
        """Notes one visit of a quantizer.

        Args:
          path: its place in the ``quant`` collection.
          spec: what it does.
          stack: the scans that iterate over its state.
          active: it quantizes here; otherwise it records an incoming scale.
          parameter: the parameter it quantizes, when it reads that parameter directly.
          pieces: the parameters that it quantizes as one, when it reads them directly.
          layout: of the parameter in the reference's memory, where the order of a sum over it counts.
          fixed_scale: the scale that it has whatever data it sees.
          limited_by: quantizers whose scales its own never exceeds.
        """
        known = self.quantizers.get(path)
        times = 1
        for scan in self.scans:
            times *= 1 if scan in stack else scan[1]
        self._decided.stacks[path] = stack
        self._decided.touched[path] = None
        self.quantizers[path] = Quantizer(
            path=path,
            spec=spec,
            stack=tuple(length for _, length in stack),
            active=active or (known is not None and known.active),
            parameter=parameter if parameter is not None or known is None else known.parameter,
            pieces=pieces,
            visits=(known.visits if known else 0) + times * active,
            file_layout=layout,
            fixed_scale=fixed_scale,
            limited_by=limited_by,
        )

    def warn(self, text: str) -> None:
        """Notes what the user should know although nothing is wrong; told when a model is made."""
        self._decided.warnings[text] = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was noted, each text once."""
        return tuple(self._decided.warnings)

    def name(self, owner: Owner, stem: str, counter: str) -> Path:
        """Next name of an operator of an owner: ``stem`` and a number (docs/specification/ops.md section 7)."""
        key = (owner.serial, counter)
        number = self._decided.counters[key]
        self._decided.counters[key] += 1
        return (*owner.state_path, f"{stem}_{number}")

    def owner(self, node: Node) -> tuple[Owner | None, str]:
        """The module that an operator belongs to; None, and why, where operators stay float.

        Under ``compat: reference`` only ``__call__`` of modules that no name disables owns operators; those of others
        pass to the next one around.
        """
        owner: Owner | None = node.owner
        assert owner is not None
        disabled = self.settings.disabled(owner.path, owner.module_types)
        if owner.composite is not None:
            return None, disabled or f"inside a {owner.composite.what}: not covered yet"
        if self.settings.semantics.disabled_owners_are_float:
            return (None, disabled) if disabled else (owner, "")
        while owner is not None and (not owner.is_call or self.settings.disabled(owner.path)):
            owner = owner.around
        return owner, "" if owner is not None else disabled or "belongs to no module"

    def begin_region(self) -> _Decided:
        """Starts a region that may have to be planned again; returns what to pass to ``restart_region``."""
        before = self._decided.copy()
        self._decided.touched = {}
        return before

    def restart_region(self, before: _Decided) -> None:
        """Forgets what was decided since ``begin_region``."""
        self._decided = before.copy()
        self._decided.touched = {}

    def end_region(self, before: _Decided) -> tuple[Path, ...]:
        """Ends a region; returns the quantizers that it uses."""
        used = tuple(self._decided.touched)
        self._decided.touched = {**before.touched, **self._decided.touched}
        return used


def as_float(node: Node, reason: str = "") -> Node:
    """The node as a float step; with a reason it is a line of the coverage table."""
    return dataclasses.replace(node, quantized=False, reason=reason, bits=(None,) * len(node.outputs))

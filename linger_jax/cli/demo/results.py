"""What a stage of the demo leaves behind, and the table of all stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rich.table import Table

from linger_jax.cli.demo.digits import TEST_IMAGES


@dataclasses.dataclass(frozen=True)
class Curves:
    """Mean training loss and validation accuracy in percent, one value an epoch; empty without training."""

    loss: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One line of the table.

    Attributes:
      name: what was done.
      accuracy: on the test split, in percent.
      kib: parameters at their bit widths.
      seconds: wall time, compilation and evaluation included.
      curves: of its training.
      exponents: of each quantizer that took part, by dotted name: integers of this tensor are steps of 2^-exponent.
    """

    name: str
    accuracy: float
    kib: float
    seconds: float
    curves: Curves = Curves()
    exponents: Mapping[str, int] = dataclasses.field(default_factory=dict)


def results_table(stages: Sequence[Stage], reference: Stage) -> Table:
    """All stages, each with its distance to the float model in points.

    Args:
      stages: in the order they ran.
      reference: the float model.
    """
    table = Table(title=f"Handwritten digits, {TEST_IMAGES} test images", title_style="bold")
    table.add_column("stage")
    for column in ("test accuracy", "to float", "size", "time"):
        table.add_column(column, justify="right")
    for stage in stages:
        delta = stage.accuracy - reference.accuracy
        table.add_row(
            stage.name,
            f"{stage.accuracy:.2f} %",
            "" if stage is reference else f"{delta:+.2f}",
            f"{stage.kib:.1f} KiB",
            f"{stage.seconds:.1f} s",
        )
    return table

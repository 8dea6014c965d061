"""What a chip makes of a plan: plain data, row by row; ``export/verdict`` finds it out.

Source: docs/decisions.md D33.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

Word = Literal["packs", "as", "refused", "-"]
_KIB = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What another form of a step takes more than the step itself.

    Attributes:
      nodes: of the file, without those that the packer drops.
      multiply_accumulates: of convolutions, linear layers and products.
      constants: bytes.
    """

    nodes: int = 0
    multiply_accumulates: int = 0
    constants: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            nodes=self.nodes + other.nodes,
            multiply_accumulates=self.multiply_accumulates + other.multiply_accumulates,
            constants=self.constants + other.constants,
        )

    def __str__(self) -> str:
        parts = (
            f"{self.nodes:+,} node{'' if abs(self.nodes) == 1 else 's'}" if self.nodes else "",
            f"{self.multiply_accumulates:+,} multiply-accumulates" if self.multiply_accumulates else "",
            f"{self.constants:+,} bytes of constants" if self.constants else "",
        )
        return ", ".join(filter(None, parts)) or "at no cost"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """What becomes of one row of a plan.

    Attributes:
      word: ``packs``: the chip runs it as it is; ``as``: in another form, with the same integers; ``refused``: it does
        not; ``-``: nothing is known, or it is no part of the file.
      forms: names of the rewritings of the dialect ``thinker`` that make the other form.
      cost: of that form.
      why: what is refused, what is allowed and what to do, in one line.
      by_scales: it is refused at the scales of now, which calibration and training move.
      weights: bytes of its constants.
      activations: bytes of the largest tensor that it makes.
    """

    word: Word
    forms: tuple[str, ...] = ()
    cost: Cost = Cost()
    why: str = ""
    by_scales: bool = False
    weights: int = 0
    activations: int = 0

    @property
    def lasts(self) -> bool:
        """Whether it is refused whatever the scales become."""
        return self.word == "refused" and not self.by_scales

    def __str__(self) -> str:
        match self.word:
            case "as":
                return f"as {', '.join(self.forms)}: {self.cost}"
            case "refused":
                return f"refused{' at these scales' if self.by_scales else ''}: {self.why}"
        return self.word


UNKNOWN = Judgement(word="-")
"""Of a row that nothing is known of."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes that a package takes of each memory, and how many there are.

    Attributes:
      share_memory: activations, scratch memory and weights that are fetched ahead.
      weights: in PSRAM.
      moved: activations in PSRAM.
      share_memory_limit, psram_limit: of the chip.
    """

    share_memory: int
    weights: int
    moved: int
    share_memory_limit: int
    psram_limit: int

    def __str__(self) -> str:
        share = f"{_kib(self.share_memory)} of {_kib(self.share_memory_limit)} KiB of share memory"
        moved = f" and {_kib(self.moved)} for activations" if self.moved else ""
        return f"about {share}, {_kib(self.weights)}{moved} of {_kib(self.psram_limit)} KiB of PSRAM for weights"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceVerdict:
    """What a chip makes of the plan of a call.

    Attributes:
      platform: the chip.
      rows: one for each row of the plan, in order.
      elsewhere: what is refused and has no row: a step between rows, the file as a whole.
      memory: an estimate; None where there is no file.
      remark: why nothing could be judged, or what the judgement rests on.
      judged: whether there was a file to judge; False where no packer knows the chip, and for a call that trains.
    """

    platform: str
    rows: tuple[Judgement, ...]
    elsewhere: tuple[Judgement, ...] = ()
    memory: MemoryEstimate | None = None
    remark: str = ""
    judged: bool = True

    @property
    def runs(self) -> bool:
        """Whether ``export_onnx`` would write a file that the chip computes to the bit, at the scales of now."""
        return self.judged and not self.elsewhere and all(row.word != "refused" for row in self.rows)

    def lines(self) -> Iterable[str]:
        """A summary."""
        if not self.judged:
            yield f"{self.platform}: {self.remark}"
            return
        count = sum(row.word == "refused" for row in self.rows)
        if self.runs:
            yield f"{self.platform} runs it"
        else:
            yield f"{self.platform} does not run it as it is" + (f": {count} refused" if count else "")
        yield from map(str, self.elsewhere)
        if self.remark:
            yield self.remark


def unjudged(platform: str, rows: Sequence[object], remark: str) -> DeviceVerdict:
    """The verdict on a plan of some rows that nothing can be said of."""
    return DeviceVerdict(platform=platform, rows=(UNKNOWN,) * len(rows), remark=remark, judged=False)


def _kib(size: int) -> str:
    return f"{-(-size // _KIB):,}"

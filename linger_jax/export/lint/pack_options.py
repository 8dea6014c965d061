"""Options of the packer that a file needs."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackOptions:
    """What to tell ``tpacker`` besides the platform (docs/specification/onnx_export.md sections 4.3 and 5).

    Attributes:
      psram: tensors to place in PSRAM.
      threshold4: tensors of more bytes than this go to PSRAM; None leaves the packer's choice.
      prefetch: False switches the prefetch of weights off.
    """

    psram: tuple[str, ...] = ()
    threshold4: int | None = None
    prefetch: bool = True

    def __bool__(self) -> bool:
        return self != NO_OPTIONS

    def __or__(self, other: PackOptions) -> PackOptions:
        """Both together."""
        thresholds = [t for t in (self.threshold4, other.threshold4) if t is not None]
        return PackOptions(
            psram=tuple(dict.fromkeys((*self.psram, *other.psram))),
            threshold4=min(thresholds, default=None),
            prefetch=self.prefetch and other.prefetch,
        )

    def arguments(self) -> list[str]:
        """Command line arguments; tensors that a threshold of 0 places anyway are not named."""
        found: list[str] = []
        if self.threshold4 is not None:
            found += ["--threshold4", str(self.threshold4)]
        if self.psram and self.threshold4 != 0:
            found += ["-m", ",".join(f"{name}:psram" for name in self.psram)]
        if not self.prefetch:
            found += ["--dma_prefetch", "False"]
        return found

    def __str__(self) -> str:
        return " ".join(self.arguments())


NO_OPTIONS = PackOptions()

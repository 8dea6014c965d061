"""The vendor's packer and executor as programs: a file in, integers out."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

import linger_jax
from linger_jax.errors import LingerError, PackError
from linger_jax.typing import HostArray

_CLEARED, _NOISE = -1, 7
"""What memory holds before a run, as the simulator's script numbers it."""
_SECONDS = 20.0
"""A run takes some milliseconds, or never returns."""
_OUTCOMES = {"did not return": "hang", "exit 127": "not judged"}
"""By what the simulator says; a program that lacks a library ends with the latter."""


class SimulatorError(LingerError):
    """The script of the simulator is missing or is another program."""


@dataclasses.dataclass(frozen=True)
class Ran:
    """What came of one file.

    Attributes:
      outcome: ``ran``, ``packer refuses``, ``noise`` (what memory held before changes the result), ``error``,
        ``hang``, or ``not judged`` where the simulator lacks a part of the chip.
      outputs: for each sample, the integers of each graph output.
      message: of packer or executor, where it did not run.
    """

    outcome: str
    outputs: tuple[tuple[HostArray, ...], ...] = ()
    message: str = ""


@dataclasses.dataclass(frozen=True)
class Device:
    """The programs.

    Attributes:
      script: ``simulate.py``, beside the executors of the chips; it has a function ``run``.
      packer: the program ``tpacker``; None looks for it as ``linger_jax.pack`` does.
    """

    script: Path
    packer: Path | None = None

    def run(self, file: Path, samples: Sequence[Sequence[HostArray]], outputs: int) -> Ran:
        """Packs a file, whatever the lint says of it, and runs each sample with cleared memory and with noise.

        Args:
          file: the ONNX file.
          samples: the integers of each graph input.
          outputs: how many the file has.
        """
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder, "model.pkg")
            try:
                report = linger_jax.pack(file, package, strict=False, packer=self.packer)
            except PackError as error:
                return Ran("packer refuses", message=str(error).partition(": ")[2])
            found = []
            for sample in samples:
                cleared, noisy = (self._once(report.platform.value, package, sample, outputs, n) for n in _MEMORIES)
                for ran in (cleared, noisy):
                    if ran.outcome != "ran":
                        return ran
                found.append(cleared.outputs[0])
                if not all(map(np.array_equal, cleared.outputs[0], noisy.outputs[0])):
                    return Ran("noise", tuple(found), "the result depends on what memory held before")
            return Ran("ran", tuple(found))

    def _once(self, chip: str, package: Path, sample: Sequence[HostArray], outputs: int, memory: int) -> Ran:
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                found, _ = _script(self.script).run(chip, str(package), sample, outputs, memory, _SECONDS)
        except SystemExit:
            message = " ".join(said.getvalue().split())
            return Ran(next((o for word, o in _OUTCOMES.items() if word in message), "error"), message=message)
        return Ran("ran", (tuple(found),))


_MEMORIES = (_CLEARED, _NOISE)


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulate", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SimulatorError(f"{path}: is no Python file; give the simulator's simulate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "run", None)):
        raise SimulatorError(f"{path}: has no function run; give the simulator's simulate.py")
    return module

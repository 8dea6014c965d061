"""Finding the packer, and running it as an external program in a folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from linger_jax.errors import PackError
from linger_jax.file_errors import file_errors

PROGRAM = "tpacker"
ENVIRONMENT = ".venv-pack"
"""Where ``make pack-env`` installs the packer, with the older ONNX that it needs.

Source: docs/specification/onnx_export.md section 4.4.
"""
INSTALL = "pip install pythinker==3.0.4 onnx==1.18.0 cffi sympy"
SECONDS = 600.0
"""Time that the packer gets by default; it takes one to ten seconds."""


@dataclasses.dataclass(frozen=True)
class PackerRun:
    """One run.

    Attributes:
      status: exit status.
      output: everything that was printed.
      package: the file it wrote; None where it did not.
    """

    status: int
    output: str
    package: Path | None


def find_packer(given: str | Path | None = None) -> Path:
    """The packer: the one given, the one on the search path, or the one in ``.venv-pack`` of the working directory.

    Raises:
      PackError: there is none, or the one given cannot be run.
    """
    if given is not None:
        found = shutil.which(str(given))
        if found is None:
            raise PackError(f"{given}: is no program that can be run; give the path of {PROGRAM}")
        return Path(found).absolute()
    places = (None, str(Path(ENVIRONMENT, "bin").absolute()))
    found = next((path for place in places if (path := shutil.which(PROGRAM, path=place))), None)
    if found is None:
        raise PackError(
            f"no {PROGRAM}, the vendor's packer, on the search path or in {ENVIRONMENT}: run `make pack-env`, or "
            f"`{INSTALL}` in an environment of its own, and name its {PROGRAM}"
        )
    return Path(found).absolute()


@contextlib.contextmanager
def packer_run(
    packer: Path, file: Path, platform: str, options: Sequence[str] = (), seconds: float = SECONDS
) -> Iterator[PackerRun]:
    """Runs the packer on a copy of a file, in a temporary folder that lives as long as the block.

    Args:
      packer: the program.
      file: the ONNX file.
      platform: as the packer spells it.
      options: further arguments.
      seconds: time limit; the program is ended when it is over.

    Raises:
      PackError: the program does not start or does not end.
      FileError: the temporary folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with file_errors(tempfile.gettempdir()):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linger-jax-pack-")))
            shutil.copyfile(file, folder / "model.onnx")
        # The report of `-d True` wants a login name and fails where there is none (docs/specification/onnx_export.md
        # section 4.4).
        fixed = ["-g", "model.onnx", "-p", platform, "-o", "model.pkg", "-d", "False"]
        status, output = _run([str(packer), *fixed, *options], folder, seconds)
        package = folder / "model.pkg"
        yield PackerRun(status, output, package if package.is_file() else None)


def _run(command: Sequence[str], folder: Path, seconds: float) -> tuple[int, str]:
    # The packer has an environment of its own: ours must not be mixed into it.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    environment["PYTHONIOENCODING"] = "utf-8"
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise PackError(f"{command[0]}: cannot be started: {error}") from error
    with process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise PackError(
                f"{command[0]}: not done after {seconds:g} s; give it more time, or a smaller model"
            ) from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output.decode("utf-8", "replace")

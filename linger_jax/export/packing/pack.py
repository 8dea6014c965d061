"""``pack``: a file becomes a package for the device."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from linger_jax.atomic_file import write_file
from linger_jax.errors import LingerWarning, PackError
from linger_jax.export.lint import check_onnx, enforce, program
from linger_jax.export.onnx import read_onnx
from linger_jax.export.packing.pack_report import MemoryUse, PackReport
from linger_jax.export.packing.package import read_package
from linger_jax.export.packing.package_faults import package_faults
from linger_jax.export.packing.packer import SECONDS, find_packer, packer_run
from linger_jax.export.packing.packer_output import MEMORY_KINDS, memory_use, operations, refusal
from linger_jax.targets import Platform, device_of

_MOST_NODES = 5
"""That a message names."""


def pack(
    path_onnx: str | Path,
    out: str | Path,
    platform: Platform | str | None = None,
    options: Sequence[str] | None = None,
    *,
    strict: bool = True,
    packer: str | Path | None = None,
    seconds: float = SECONDS,
) -> PackReport:
    """Packs an exported file for the device with the vendor's packer, an external program.

    Args:
      path_onnx: a file, best of the dialect ``thinker``.
      out: the package to write; its folder is made. A failure leaves no partial file.
      platform: the chip; None takes the file's.
      options: arguments for the packer besides file and platform; None takes those that the device lint names.
      strict: refuse a file whose integers the device would not compute, as the lint finds, and a package with which it
        would write outside of its plan of memory; else warn and try.
      packer: the program ``tpacker``; None looks on the search path, then in ``.venv-pack``.
      seconds: time limit.

    Returns:
      What the package needs of the device.

    Raises:
      DeviceLintError: the device would refuse the file or compute other integers; the message says where, why and
        what to do.
      ExportError: the file cannot be read.
      PackError: the packer is missing, does not end, or refuses the file; or the executor would write outside of the
        package's plan of memory, and ``strict`` is set. Nothing is written then.
      FileError: the package cannot be written, or there is no room for the packer's temporary files.

    Source: docs/specification/onnx_export.md section 4.
    """
    path = Path(path_onnx)
    lint = check_onnx(path, platform)
    enforce(lint, str(path), strict=strict)
    found = find_packer(packer)
    chip, given = lint.platform, tuple(lint.pack_options if options is None else options)
    with packer_run(found, path, chip.value.lower(), given, seconds) as run:
        if run.status or run.package is None:
            raise PackError(_refused(path, chip, run.output, run.status))
        package = run.package.read_bytes()
        _judge(path, chip, package, strict=strict)
        write_file(out, package)
        needed, limits = memory_use(run.output), _memory(chip)
        memory = tuple(MemoryUse(kind, used, limits.get(kind)) for kind, used in needed.items())
        return PackReport(Path(out), chip, given, memory, operations(run.output), len(package))


def _judge(path: Path, platform: Platform, package: bytes, *, strict: bool) -> None:
    """Refuses a package with which the executor writes outside of its plan of memory, or warns of it."""
    try:
        faults = package_faults(read_package(package), program(read_onnx(path), platform))
        message = f"{path}: {platform.value} writes outside of the plan of memory: " + "; ".join(faults)
    except PackError as error:
        faults, message = [str(error)], f"{path}: {error}. Give strict=False to have it all the same"
    if faults and strict:
        raise PackError(message)
    if faults:
        warnings.warn(message, LingerWarning, stacklevel=3)


def _memory(platform: Platform) -> dict[str, int]:
    """Bytes of the device, by the names of ``MEMORY_KINDS``."""
    device = device_of(platform)
    return {MEMORY_KINDS["SHARE_MEM"]: device.share_memory, MEMORY_KINDS["PSRAM"]: device.psram}


def _refused(path: Path, platform: Platform, output: str, status: int) -> str:
    """The packer's reason, with the nodes that it is about as far as its output tells."""
    reason = refusal(output, status)
    kind = _bare(reason.operator)
    nodes = [node.name for node in read_onnx(path).nodes if kind and _bare(node.op.rpartition("::")[2]) == kind]
    shown = ", ".join(nodes[:_MOST_NODES]) + (", ..." if len(nodes) > _MOST_NODES else "")
    where = f" at {shown}" if len(nodes) == 1 else f" at one of {shown}" if nodes else ""
    return f"{path}: the packer makes no package for {platform.value}{where}: {reason}"


def _bare(operator: str) -> str:
    """``Conv2d`` for the file's ``QConv2d`` and the packer's ``Conv2dInt``; ``add`` for ``QAdd`` and ``iqAdd``."""
    return operator.removesuffix("Int").removeprefix("iq").removeprefix("Q").lower()

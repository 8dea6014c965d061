"""``linger-jax pack``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from linger_jax.cli.inspect_command import WIDTH
from linger_jax.errors import LingerError
from linger_jax.write_through import is_written_through


def pack(
    model: Annotated[Path, typer.Argument(help="An ONNX file, best of the dialect thinker.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The package to write.")],
    platform: Annotated[str | None, typer.Option(help="The chip; default: the one the file names.")] = None,
    options: Annotated[
        str | None, typer.Option(help='Arguments for the packer, "--threshold4 0"; default: those the lint names.')
    ] = None,
    tpacker: Annotated[
        Path | None, typer.Option(help="The packer; default: on the search path, then in .venv-pack.")
    ] = None,
    strict: Annotated[
        bool, typer.Option(help="Refuse a file whose integers the chip would not compute; else warn and try.")
    ] = True,
    seconds: Annotated[float, typer.Option(help="Time limit.", min=1.0)] = 600.0,
) -> None:
    """Turn an exported file into a package for the device, with the vendor's packer, and report memory use."""
    from rich.console import Console

    import linger_jax

    try:
        arguments = None if options is None else shlex.split(options)
    except ValueError as error:
        raise LingerError(f"--options {options}: {error}; quote it as a shell command") from error
    with Console(stderr=True).status(f"packing {model}"):
        report = linger_jax.pack(model, out, platform, arguments, strict=strict, packer=tpacker, seconds=seconds)
    # A package that goes to standard output shall not have a table in it.
    console = Console(width=None if sys.stdout.isatty() else WIDTH, stderr=is_written_through(out))
    console.print(report.table())
    console.print(f"{out}: {report.summary}", soft_wrap=True, highlight=False, markup=False)

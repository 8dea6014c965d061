"""``linger-jax check``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from linger_jax.targets import packed_platforms

WIDTH = 160
"""Of a table that is printed to a file."""


def check(
    file: Annotated[Path, typer.Argument(help="An .onnx file that export_onnx or linger wrote.")],
    platform: Annotated[
        str | None,
        typer.Option(help=f"Target chip: {', '.join(packed_platforms())}. Default: the one that the file names."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what the vendor's packer and the chip will make of an ONNX file, and which packer options it needs.

    Exit status: 0 if the chip computes the file's integers, 1 if something is in the way.
    """
    import json as json_format

    from rich.console import Console

    from linger_jax.export import check_onnx

    report = check_onnx(file, platform)
    if json:
        typer.echo(json_format.dumps(report.as_dict(), indent=2))
    else:
        console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
        if report.findings:
            console.print(report.table())
        console.print(report.summary(), markup=False, soft_wrap=True)
    if not report.ok:
        raise typer.Exit(1)

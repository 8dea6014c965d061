"""``linger-jax export``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from linger_jax.cli.inspect_command import WIDTH
from linger_jax.errors import LingerError
from linger_jax.export import DIALECTS
from linger_jax.file_errors import file_errors
from linger_jax.write_through import is_written_through


def dialect_name(text: str) -> str:
    """The name of a dialect.

    Raises:
      BadParameter: there is no such dialect.
    """
    if text not in DIALECTS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(DIALECTS)}.")
    return text


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of a quantized model's variables (orbax), or a linger checkpoint (.pt).")
    ],
    model: Annotated[str, typer.Option(help="The Flax model, package.module:Name (an instance, class or function).")],
    input: Annotated[
        list[str], typer.Option(help="Shape of an input, 1x3x32x32 as the file has it; once for each input.")
    ],
    config: Annotated[Path, typer.Option(help="Configuration that the model was trained with.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The ONNX file to write.")],
    dialect: Annotated[
        str,
        typer.Option(
            parser=dialect_name,
            metavar=f"[{'|'.join(DIALECTS)}]",
            help=" ".join(f"{dialect.name}: {dialect.summary}." for dialect in DIALECTS.values()),
        ),
    ] = "thinker",
    platform: Annotated[str | None, typer.Option(help="The chip; default: the configuration's.")] = None,
    opset: Annotated[int, typer.Option(help="ONNX operator set; the packer reads 12.")] = 12,
    strict: Annotated[
        bool, typer.Option("--strict/--no-strict", help="Write nothing that the chip would not compute to the bit.")
    ] = True,
    input_names: Annotated[str | None, typer.Option(help="Names of the inputs, a,b; default: the arguments'.")] = None,
    output_names: Annotated[str | None, typer.Option(help="Names of the outputs, a,b; default: y.")] = None,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="--input is the Flax model's shape.")] = False,
) -> None:
    """Write a trained quantized model as an ONNX file, and say what the chip will make of it."""
    import jax.numpy as jnp
    from rich.console import Console

    import linger_jax
    from linger_jax.cli.boundary import boundary_table, operators_of
    from linger_jax.cli.model_argument import check_call, example_input, load_model
    from linger_jax.cli.quantized_checkpoint import read_quantized
    from linger_jax.export.onnx import read_onnx

    with file_errors(out):
        if out.is_dir():
            raise LingerError(f"--out {out}: is a folder; name a file")
    progress = Console(stderr=True)
    shapes = tuple(example_input(text, channels_last=channels_last) for text in input)
    with progress.status(f"reading {checkpoint}"):
        qmodel = linger_jax.init(load_model(model), config)
        variables = read_quantized(checkpoint, qmodel, shapes)
        check_call(qmodel.model, variables, shapes)
    with progress.status(f"writing {out}"):
        linger_jax.export_onnx(
            qmodel,
            variables,
            tuple(jnp.zeros(shape.shape, shape.dtype) for shape in shapes),
            out,
            dialect,
            platform,
            opset,
            strict,
            input_names=None if input_names is None else input_names.split(","),
            output_names=None if output_names is None else output_names.split(","),
        )
    if is_written_through(out):  # it cannot be read again, and may be where a table would go
        progress.print(f"{out}: written, dialect {dialect}", soft_wrap=True, highlight=False, markup=False)
        return
    graph, report = read_onnx(out), linger_jax.check_onnx(out)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(boundary_table(graph))
    if report.findings:
        console.print(report.table())
    package = out.with_suffix(".pkg")
    for line in (
        f"{out}: {out.stat().st_size:,} bytes, dialect {dialect}: {operators_of(graph)}",
        report.summary(),
        *([f"next: linger-jax pack {shlex.quote(str(out))} --out {shlex.quote(str(package))}"] if report.ok else []),
    ):
        console.print(line, soft_wrap=True, highlight=False, markup=False)

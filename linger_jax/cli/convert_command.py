"""``linger-jax convert``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from linger_jax.cli.inspect_command import WIDTH
from linger_jax.errors import ConversionError, LingerError
from linger_jax.file_errors import file_errors


def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A .pt or .safetensors file, or a folder of shards; a linger checkpoint with --config."),
    ],
    model: Annotated[str, typer.Option(help="The Flax model, package.module:Name (an instance, class or function).")],
    input: Annotated[
        list[str],
        typer.Option(
            help="Shape of an input; once for each. 1x3x32x32 as PyTorch has it, three axes as Flax has them."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write, as an orbax checkpoint; it must not exist.")],
    config: Annotated[
        Path | None, typer.Option(help="Configuration of linger: the checkpoint has quantizers, and so has the model.")
    ] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML file of names, PyTorch to Flax, or of rules.")] = None,
    save_mapping: Annotated[Path | None, typer.Option(help="Write the names that were found to this file.")] = None,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="--input is the Flax model's shape.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go where.")] = False,
) -> None:
    """Turn a PyTorch checkpoint into the variables of a Flax model, and say what became of every tensor."""
    from rich.console import Console

    import linger_jax
    from linger_jax import converters
    from linger_jax.cli.model_argument import example_input, load_model

    progress = Console(stderr=True)
    with file_errors(out):
        if out.exists() and not dry_run:
            raise LingerError(f"--out {out}: exists already; name another folder or remove it")
    module = load_model(model)
    shapes = tuple(example_input(text, channels_last=channels_last) for text in input)
    with progress.status(f"importing {checkpoint}"), _told_of_sequences(shapes):
        if config is None:
            variables, report = converters.from_torch(checkpoint, module, shapes, mapping=mapping, dry_run=dry_run)
        else:
            qmodel = linger_jax.init(module, config)
            variables, report = converters.load_linger_checkpoint(
                checkpoint, qmodel, None, shapes, mapping=mapping, dry_run=dry_run
            )
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(report.table())
    if save_mapping is not None:
        report.save_mapping(save_mapping)
    if dry_run:
        return
    with progress.status(f"writing {out}"):
        from linger_jax.cli.variables_folder import write_variables

        write_variables(out, variables)
    console.print(f"{out}: {report.summary}", soft_wrap=True, highlight=False, markup=False)


@contextlib.contextmanager
def _told_of_sequences(inputs: tuple[Any, ...]) -> Iterator[None]:
    """Adds to an error that inputs of three axes are not turned: they may be [N, C, L] or [N, time, features]."""
    try:
        yield
    except ConversionError as error:
        shapes = ["x".join(map(str, entry.shape)) for entry in inputs if len(entry.shape) == 3]
        if not shapes:
            raise
        raise ConversionError(
            f"{error}\n  --input {', '.join(shapes)}: three axes are taken as the Flax model has them; what PyTorch's "
            f"Conv1d reads as [N, C, L] is [N, L, C] there"
        ) from error

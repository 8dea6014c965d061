"""``linger-jax convert``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from linger_jax.cli.inspect_command import WIDTH
from linger_jax.errors import LingerError


def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A .pt or .safetensors file, or a folder of shards; a linger checkpoint with --config."),
    ],
    model: Annotated[str, typer.Option(help="The Flax model, package.module:Name (an instance, class or function).")],
    input: Annotated[
        list[str], typer.Option(help="Shape of an input, 1x3x32x32 as PyTorch has it; once for each input.")
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

    import converters
    import linger_jax
    from linger_jax.cli.model_argument import example_input, load_model

    progress = Console(stderr=True)
    if out.exists() and not dry_run:
        raise LingerError(f"--out {out}: exists already; name another folder or remove it")
    module = load_model(model)
    shapes = tuple(example_input(text, channels_last=channels_last) for text in input)
    with progress.status(f"importing {checkpoint}"):
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

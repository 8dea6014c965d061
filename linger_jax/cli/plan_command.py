"""``linger-jax plan``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from linger_jax.cli.inspect_command import WIDTH


def plan(
    model: Annotated[str, typer.Option(help="The Flax model, package.module:Name (an instance, class or function).")],
    input: Annotated[
        list[str], typer.Option(help="Shape of an input, 1x3x32x32 as the file has it; once for each input.")
    ],
    config: Annotated[Path, typer.Option(help="Configuration that the model is to be trained with.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Variables of the quantized model (orbax folder, .pt), at whose scales it is judged."),
    ] = None,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="--input is the Flax model's shape.")] = False,
) -> None:
    """Say of every layer, before anything is trained, whether it is quantized and what the chip will make of it.

    Exit status: 0 if the chip will run it, 1 if it will not, or if nothing is known of the chip.
    """
    import jax
    from rich.console import Console

    import linger_jax
    from linger_jax.cli.model_argument import check_call, example_input, load_model
    from linger_jax.cli.quantized_checkpoint import read_quantized

    shapes = tuple(example_input(text, channels_last=channels_last) for text in input)
    qmodel = linger_jax.init(load_model(model), config)
    if checkpoint is None:
        variables = jax.eval_shape(qmodel.model.init, jax.eval_shape(lambda: jax.random.key(0)), *shapes)
    else:
        variables = read_quantized(checkpoint, qmodel, shapes)
        check_call(qmodel.model, variables, shapes)
    found = qmodel.plan(variables, *shapes)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for table in (found.table(), found.memory_table()):
        if table is not None:
            console.print(table)
    if found.device is None or not found.device.runs:
        raise typer.Exit(1)

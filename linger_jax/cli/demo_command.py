"""``linger-jax demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linger_jax.errors import LingerError

_EXTRAS = ("matplotlib", "sklearn", "torch")
# What scikit-learn takes.
_LARGEST_SEED = 2**32 - 1


def demo(
    out: Annotated[Path, typer.Option(help="Folder for float.pt, checkpoints, results and the picture.")] = Path(
        "out/demo"
    ),
    seed: Annotated[
        int, typer.Option(min=0, max=_LARGEST_SEED, help="Seed of the data split, the weights and the data order.")
    ] = 42,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch a stage and TQT only: shows that it runs.")] = False,
) -> None:
    """Take a PyTorch checkpoint to a quantized JAX model, on handwritten digits.

    Trains a small residual network in PyTorch, imports it into an independently written Flax model, and compares
    calibration alone with quantization-aware training. Exports the result for the chip and runs the file in integers.
    Needs no network; prints a table and writes a picture.
    """
    from rich.console import Console

    try:
        from linger_jax.cli.demo import run_demo
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        raise LingerError(f"the demo needs {error.name}: pip install 'linger-jax[demo]'") from error
    run_demo(out, seed=seed, quick=quick, console=Console())

"""The ``linger-jax`` program: its commands, and how errors reach the terminal."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

import typer
from rich.console import Console
from rich.markup import escape

from linger_jax.cli.check_command import check
from linger_jax.cli.convert_command import convert
from linger_jax.cli.demo_command import demo
from linger_jax.cli.export_command import export
from linger_jax.cli.inspect_command import inspect
from linger_jax.cli.pack_command import pack
from linger_jax.cli.plan_command import plan
from linger_jax.cli.run import run
from linger_jax.errors import LingerError, LingerWarning

app = typer.Typer(
    name="linger-jax",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(convert)
app.command()(inspect)
app.command()(plan)
app.command()(export)
app.command()(run)
app.command()(check)
app.command()(pack)


@app.callback()
def commands() -> None:
    """Quantization-aware training for JAX and Flax, bit-exact with the target chips' arithmetic."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit: 0 for success, 1 for an error of the ``LingerError`` family, 2 for wrong usage.

    Args:
      arguments: the command line without the program's name; None takes the process's own.
    """
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    with warnings.catch_warnings():
        _print_own_warnings(errors)
        try:
            app(None if arguments is None else list(arguments), prog_name="linger-jax")
        except LingerError as error:
            errors.print(f"[bold red]error:[/] {escape(str(error))}")
            sys.exit(1)


def _print_own_warnings(console: Console) -> None:
    """Our warnings are messages to the user of the program; others keep Python's form, which names the code."""
    show = warnings.showwarning

    def showwarning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, LingerWarning):
            console.print(f"[yellow]warning:[/] {escape(str(message))}")
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = showwarning

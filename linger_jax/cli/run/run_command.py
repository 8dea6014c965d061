"""``linger-jax run``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from linger_jax.cli.inspect_command import WIDTH
from linger_jax.errors import LingerError
from linger_jax.file_errors import file_errors
from linger_jax.nearest_name import nearest_name


class DumpForm(StrEnum):
    """What ``--dump`` writes of every tensor."""

    float = "float"
    quantized = "quantized"
    all = "all"


def run(
    model: Annotated[Path, typer.Argument(help="An exported ONNX file, ours or linger's.")],
    input: Annotated[
        list[str],
        typer.Option(help="x.npy, name=x.npy, or an .npz with an array for each input; real numbers as in the file."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the results to this .npz (by name) or .npy file.")
    ] = None,
    special_key: Annotated[
        list[str] | None, typer.Option(help="A tensor to return instead of the outputs; may be repeated.")
    ] = None,
    integers: Annotated[
        bool, typer.Option("--integers", help="Return the device's integers instead of real numbers.")
    ] = False,
    batch_axis: Annotated[
        list[str] | None, typer.Option(help="Axis of a batch, 1 or name=1; default 0, samples run independently.")
    ] = None,
    dump: Annotated[Path | None, typer.Option(help="Write every tensor to a .npy file in this folder.")] = None,
    dump_format: Annotated[DumpForm, typer.Option(help="What to dump.")] = DumpForm.quantized,
) -> None:
    """Run an exported file in pure integers, as its chip computes, and show what came out."""
    from rich.console import Console

    import linger_jax
    from linger_jax.cli.run.array_files import check_output, read_inputs, write_arrays
    from linger_jax.cli.run.run_results import integers_of, real, results_table, source_of
    from linger_jax.export.runner import write_dump

    runner = linger_jax.OnnxRunner(model)
    declared = [entry.name for entry in runner.inputs]
    wanted = _wanted(special_key or runner.outputs, [*declared, *runner.tensor_names])
    if output is not None:
        check_output(output, len(wanted))
    if dump is not None:
        with file_errors(dump):
            if dump.exists() and not dump.is_dir():
                raise LingerError(f"--dump {dump}: is a file; name a folder")
    axes = _axes(batch_axis or [], declared)
    arrays = read_inputs(input, declared)
    sources = {name: source_of(runner.graph, name) for name in wanted}
    names = dict.fromkeys([*(runner.tensor_names if dump else ()), *wanted, *sources.values()])
    with Console(stderr=True).status(f"running {model}"):
        values = runner.run_quantized(arrays, tuple(names), batch_axis=axes)
    if dump is not None:
        written = write_dump({name: values[name] for name in runner.tensor_names}, dump, dump_format.value)
    results = {
        name: integers_of(name, values[source]) if integers else real(values[name]) for name, source in sources.items()
    }
    if output is not None:
        write_arrays(output, results)

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(results_table(str(model), arrays, {name: values[source] for name, source in sources.items()}))
    if output is not None:
        console.print(f"{output}: {', '.join(wanted)}", soft_wrap=True, highlight=False, markup=False)
    if dump is not None:
        console.print(f"{dump}: {len(written)} files", soft_wrap=True, highlight=False, markup=False)


def _wanted(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            near = nearest_name(name, known)
            hint = f"did you mean {near}?" if near else f"it has {', '.join(known)}"
            raise LingerError(f"--special-key {name}: the file has no such tensor; {hint}")
    return tuple(dict.fromkeys(names))


def _axes(arguments: Sequence[str], inputs: Sequence[str]) -> int | Mapping[str, int]:
    """``1`` for all inputs, ``name=1`` for one."""
    named: dict[str, int] = {}
    for argument in arguments:
        name, equals, axis = argument.rpartition("=")
        if not axis.isdecimal():
            raise LingerError(f"--batch-axis {argument}: write an axis such as 1, or NAME=1")
        if not equals:
            if len(arguments) != 1:
                raise LingerError(f"--batch-axis {argument}: is for all inputs; write NAME={axis} to give several")
            return int(axis)
        if name not in inputs:
            raise LingerError(f"--batch-axis {argument}: the model has no input {name!r}; it takes {', '.join(inputs)}")
        named[name] = int(axis)
    return named or 0

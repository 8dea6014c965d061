"""One jitted training step: float Flax, linger_jax and qwix, interleaved in one run.

    python benchmarks/qat_step.py --model cnn --repeat 30 --json step.json

Prints, per model, the ratios to float Flax of the step's time (median over turns), of the time to trace and compile,
and of the peak memory, and checks that no step after the first one compiles again.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import optax
from contenders import BASE, CONTENDERS, Batch, Contender, State
from models import TASKS, Task
from rich.console import Console
from rich.table import Table
from timing import CLOCKS, median_ms, median_ratio, take_turns

from linger_jax.atomic_file import write_file

OPTIMIZERS = {
    "sgd": functools.partial(optax.sgd, 1e-3, momentum=0.9),
    "adam": functools.partial(optax.adam, 1e-4),
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one contender cost; ratios are to float Flax, None where it is absent."""

    model: str
    contender: str
    step_ms: float | None = None
    step_ratio: float | None = None
    compile_s: float | None = None
    compile_ratio: float | None = None
    peak_mb: float | None = None
    peak_ratio: float | None = None
    programs: int | None = None
    """Programs compiled for all steps; more than one is an error."""
    note: str = ""


class Runner:
    """A contender's jitted step and the state it has reached; the step's buffers are donated."""

    def __init__(self, contender: Contender, batch: Batch) -> None:
        self.step = jax.jit(contender.step, donate_argnums=0)
        self.state: State = jax.tree.map(lambda leaf: jax.numpy.array(leaf, copy=True), contender.state)
        self.batch = batch

    def __call__(self) -> jax.Array:
        self.state, loss = self.step(self.state, self.batch)
        return loss


def seconds_to_compile(contender: Contender, batch: Batch) -> tuple[float, Any]:
    """Tracing, lowering and compiling the step from nothing: seconds and the compiled program."""
    step = jax.jit(lambda state, batch: contender.step(state, batch), donate_argnums=0)
    start = time.perf_counter()
    compiled = step.lower(contender.state, batch).compile()
    return time.perf_counter() - start, compiled


def peak_bytes(compiled: Any) -> int:
    """Arguments, results and temporaries of one step; donated buffers count once."""
    stats = compiled.memory_analysis()
    return (
        stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes - stats.alias_size_in_bytes
    )


def build(task: Task, optimizer: str, names: list[str]) -> tuple[dict[str, Contender], dict[str, str]]:
    """The contenders that can run here, and for the others the reason."""
    present, absent = {}, {}
    for name in names:
        try:
            present[name] = CONTENDERS[name](task, OPTIMIZERS[optimizer]())
        except Exception as error:  # a contender that fails must not stop the others
            absent[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return present, absent


def measure(model: str, options: argparse.Namespace) -> list[Result]:
    task = TASKS[model]
    names = [BASE, *(name for name in CONTENDERS if name != BASE and options.only in name)]
    contenders, absent = build(task, options.optimizer, names)
    batch = task.batch()
    compiling: dict[str, list[float]] = {name: [] for name in contenders}
    peak: dict[str, int] = {}
    for _ in range(options.compile_repeat):
        for name, contender in list(contenders.items()):
            try:
                seconds, compiled = seconds_to_compile(contender, batch)
            except Exception as error:
                absent[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                del contenders[name]
                continue
            compiling[name].append(seconds)
            peak[name] = peak_bytes(compiled)
    runners = {name: Runner(contender, batch) for name, contender in contenders.items()}
    turns = take_turns(runners, repeat=options.repeat, clock=options.clock)
    results = []
    for name in names:
        if name in absent:
            results.append(Result(model=model, contender=name, note=absent[name]))
            continue
        programs = runners[name].step._cache_size()
        ratios = [a / b for a, b in zip(compiling[name], compiling[BASE], strict=True)]
        results.append(
            Result(
                model=model,
                contender=name,
                step_ms=median_ms(turns, name),
                step_ratio=median_ratio(turns, name, BASE),
                compile_s=statistics.median(compiling[name]),
                compile_ratio=statistics.median(ratios),
                peak_mb=peak[name] / 1e6,
                peak_ratio=peak[name] / peak[BASE],
                programs=programs,
                note="" if programs == 1 else "RECOMPILED",
            )
        )
    return results


def show(console: Console, model: str, results: list[Result]) -> None:
    table = Table(title=f"{model}: one training step, ratios to {BASE}")
    table.add_column("contender", no_wrap=True)
    for column in ("step ms", "step", "compile s", "compile", "peak MB", "peak", "programs"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("note")

    def cell(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    for r in results:
        table.add_row(
            r.contender,
            cell(r.step_ms, 1),
            cell(r.step_ratio),
            cell(r.compile_s),
            cell(r.compile_ratio),
            cell(r.peak_mb, 1),
            cell(r.peak_ratio),
            "-" if r.programs is None else str(r.programs),
            r.note,
        )
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=[*TASKS, "all"], default="all")
    parser.add_argument("--repeat", type=int, default=30, help="timed steps of each contender")
    parser.add_argument("--compile-repeat", type=int, default=3)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd")
    parser.add_argument("--only", default="", help="contenders whose name contains this, next to float Flax")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor time of all threads")
    parser.add_argument("--json", type=Path, help="also write the results here")
    options = parser.parse_args()
    # A compiled program from an earlier run would hide the time to compile.
    jax.config.update("jax_enable_compilation_cache", False)
    console = Console(width=120)
    results: list[Result] = []
    for model in TASKS if options.model == "all" else [options.model]:
        found = measure(model, options)
        show(console, model, found)
        results += found
    if options.json:
        write_file(options.json, json.dumps([asdict(result) for result in results], indent=2) + "\n")
    return int(any(result.programs not in (1, None) for result in results))


if __name__ == "__main__":
    raise SystemExit(main())

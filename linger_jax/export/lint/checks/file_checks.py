"""What can only be said of the file as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from linger_jax.export.lint.finding import Problem, notes, refuses
from linger_jax.export.lint.memory_plan import MemoryUse, lives, memory_use, stays_in_share_memory
from linger_jax.export.lint.pack_options import PackOptions
from linger_jax.export.lint.program import Program

_KIB = 1024


def _parameters(program: Program, options: PackOptions) -> Iterator[Problem]:
    del options
    if not program.graph.constants:
        yield refuses(
            "no constants",
            "at least one: the packer fails on a file without",
            "Export a model that has a layer with weights",
        )


def _memory(program: Program, options: PackOptions) -> Iterator[Problem]:
    """Whether the tensors fit, and which options make them."""
    use = memory_use(program, options)
    if _fits(program, use):
        return
    found = f"about {use.share_memory // _KIB} KiB of share memory and {use.psram // _KIB} KiB of PSRAM"
    limit = f"{program.device.share_memory // _KIB} KiB and {program.device.psram // _KIB} KiB"
    for more in _relief(program):
        if _fits(program, memory_use(program, options | more)):
            yield notes(found, limit, "Give the packer the option", more)
            return
    yield refuses(found, limit, "Use a smaller input, fewer features, or several layers in the place of the largest")


def _fits(program: Program, use: MemoryUse) -> bool:
    return use.share_memory <= program.device.share_memory and use.psram <= program.device.psram


def _relief(program: Program) -> Iterator[PackOptions]:
    """Options that take less share memory, those that cost least time first."""
    yield PackOptions(prefetch=False)
    held = set(stays_in_share_memory(program))
    found = lives(program)
    least = max((life.size for life in found if life.name in held), default=0)
    thresholds = [size - 1 for size in sorted({life.size for life in found}, reverse=True) if size - 1 >= least]
    for prefetch in (True, False):
        for threshold in thresholds:
            yield PackOptions(threshold4=threshold, prefetch=prefetch)


CHECKS: Mapping[str, Callable[[Program, PackOptions], Iterator[Problem]]] = {
    "constants": _parameters,
    "memory": _memory,
}
"""By name; each is given the options that the findings of nodes ask for."""

"""What the executor would write outside of a package's plan of memory.

Source: docs/specification/executor.md section 8, checking a package.
"""

from __future__ import annotations

from collections.abc import Iterator

from linger_jax.export.lint import Program
from linger_jax.export.packing.package import Package, Placed
from linger_jax.export.scratch_memory import scratch_bytes
from linger_jax.kinds import USE_THINKER

_LSTM = "LSTMInt"
_STATE = 1
"""Which output of an LSTM is its final state."""


def package_faults(package: Package, program: Program) -> list[str]:
    """Every fault, one a line; none where the executor stays inside the plan.

    Args:
      package: what the packer made.
      program: of the file.
    """
    return [*_scratch(package, program), *_behind_states(package, program), *_conflicts(package)]


def _scratch(package: Package, program: Program) -> Iterator[str]:
    computing = set(program.graph.computing)
    for view in program.views:
        if view.node not in computing or not view.outputs:
            continue
        shapes = [None if tensor is None else tensor.shape for tensor in view.inputs]
        need = scratch_bytes(program.device, view.operator, view.node.attributes, shapes, view.outputs[0].shape)
        if need > package.workspace:
            yield (
                f"{view.written} of {view.node.layer or view.node.name} writes {need} bytes of scratch memory, and the "
                f"package has {package.workspace}. {USE_THINKER}: it reserves them"
            )


def _behind_states(package: Package, program: Program) -> Iterator[str]:
    layer = {name: node.layer or node.name for node in program.graph.nodes for name in node.outputs}
    lives = package.lives()
    for index, step in enumerate(package.steps):
        if step.kind != _LSTM or len(step.outputs) <= _STATE:
            continue
        state = package.tensors[step.outputs[_STATE]]
        length = program.device.lstm_overhang * state.size
        behind = Placed("", state.in_share_memory, planned=True, begin=state.end, size=length)
        if not length:
            continue
        alive = [
            t for t, (first, last) in lives.items() if first <= index <= last and _meet(package.tensors[t], behind)
        ]
        where = layer.get(package.tensors[step.outputs[0]].name, step.kind)
        what = f"the LSTM of {where} writes {length} bytes behind its final state {state.name}"
        remedy = "Put another layer in its place, or keep it off the chip"
        if alive:
            yield f"{what}, where {package.tensors[alive[0]].name} lies. {remedy}"
        elif behind.end > package.block(in_share_memory=state.in_share_memory):
            yield f"{what}, the last tensor of the plan. {remedy}"


def _conflicts(package: Package) -> Iterator[str]:
    lives, shared = package.lives(), package.shared()
    numbers = sorted(lives, key=lambda t: package.tensors[t].begin)
    for place, one in enumerate(numbers):
        for other in numbers[place + 1 :]:
            a, b = package.tensors[one], package.tensors[other]
            if b.begin >= a.end:
                break
            (first, last), (begin, end) = lives[one], lives[other]
            if _meet(a, b) and first <= end and begin <= last and shared[one] != shared[other]:
                yield f"{a.name} and {b.name} lie in the same memory at the same time. Pack with other options"


def _meet(one: Placed, other: Placed) -> bool:
    same = one.in_share_memory == other.in_share_memory
    return same and one.begin < other.end and other.begin < one.end

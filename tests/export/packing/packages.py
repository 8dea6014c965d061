"""Packages as bytes, with the tables of release 3.0.4 (docs/specification/executor.md section 8)."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Given:
    """A tensor: its memory (1: PSRAM, 2: share memory) and place, int8 in one axis; not planned: a constant."""

    name: str
    begin: int
    size: int
    memory: int = 2
    planned: bool = True


Steps = Sequence[tuple[str, Sequence[int], Sequence[int]]]


def package(
    tensors: Sequence[Given] = (), steps: Steps = (), inputs: Sequence[int] = (), outputs: Sequence[int] = ()
) -> bytes:
    """A package of these tensors and operators; an operator is its kind, what it reads and what it makes."""
    kinds = [kind for kind, _, _ in steps]
    placed = b"".join(
        struct.pack("<BBHifiI7IQ8x", t.memory, 0, 0x6901, int(t.planned), 0.0, 0, 1, t.size, *[0] * 6, t.begin)
        for t in tensors
    )
    operators = b"".join(
        struct.pack("<7HBB", i, 16, 16, 0, 16 + 4 * len((*read, *made)), len(read), len(made), 0, 1)
        + struct.pack(f"<{len((*read, *made))}I", *read, *made)
        for i, (_, read, made) in enumerate(steps)
    )
    names = b"".join(struct.pack("64s", t.name.encode()) for t in tensors)
    head = struct.pack("<2H2BHI4x", len(steps), len(kinds), 32, 16, 16, 16 + 32 * len(kinds))[:16]
    tables = [
        b"",
        struct.pack("<4I", len(tensors), 64, 16, 16) + placed,
        head + b"".join(struct.pack("32s", kind.encode()) for kind in kinds) + operators,
        struct.pack("<4H8x", len(inputs), len(outputs), 0, 16)
        + struct.pack(f"<{len((*inputs, *outputs))}I", *inputs, *outputs),
        struct.pack("<5I4x", len(tensors), 0, 0, 0, 24) + names,
    ]
    begins = [80 + sum(map(len, tables[:i])) for i in range(len(tables))]
    offsets = [0, begins[0], begins[1], 0, begins[2], begins[3], 0, begins[4]]
    return struct.pack("<16s8I32x", b"thinker10", *offsets) + b"".join(tables)

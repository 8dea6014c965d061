"""How files are spoilt: by kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.faults.mutations import archives, numbers, onnx_models, pickles, raw, states, texts
from tests.faults.mutations.mutation import Mutation, Random, pick

MUTATIONS: Mapping[str, tuple[Mutation, ...]] = {
    "torch": (*archives.TORCH_ARCHIVES, *pickles.IN_ARCHIVES, *states.STATES),
    "torch_qat": (*archives.TORCH_ARCHIVES, *states.STATES, *states.SCALES),
    "torch_old": (*pickles.IN_OLD_FILES, *states.STATES),
    "safetensors": (*numbers.SAFETENSORS, *states.ARRAY_STATES),
    "safetensors_qat": (*numbers.SAFETENSORS, *states.ARRAY_STATES, *states.SCALES),
    "json": texts.JSONS,
    "yaml": texts.YAMLS,
    "rules": texts.RULES,
    "onnx": onnx_models.ONNX,
    "npy": numbers.ARRAYS,
    "npz": (*archives.ARCHIVES, *numbers.MANY_ARRAYS),
    "other": (),
}
"""Changes that know the format; those of bytes and of the file system are for all."""

_SHARE_OF_BYTES = 0.4
_SHARE_OF_NO_FILE = 0.02
_SHARE_OF_MORE = 0.2


def mutate(random: Random, kind: str, path: Path) -> list[Mutation]:
    """Spoils a file, mostly once; what must be refused comes last.

    Args:
      random: decides everything.
      kind: of the file, a key of ``MUTATIONS``.
      path: of the file.

    Returns:
      What was done and changed something.
    """
    count = 1 + int(random.random() < _SHARE_OF_MORE) + int(random.random() < _SHARE_OF_MORE / 4)
    chosen = [_draw(random, kind) for _ in range(count)]
    done = []
    for mutation in sorted(chosen, key=lambda m: m.refused):
        if not path.is_file() or path.is_symlink():
            break
        before = path.read_bytes()
        try:
            mutation.change(random, path)
        except Exception:  # it wants a whole file of its format; the change before has spoilt this one
            path.write_bytes(before)
        if path.is_symlink() or not path.is_file() or path.read_bytes() != before:
            done.append(mutation)
    return done


def _draw(random: Random, kind: str) -> Mutation:
    share = random.random()
    if share < _SHARE_OF_NO_FILE:
        return pick(random, raw.NO_FILE)
    known = MUTATIONS[kind]
    return pick(random, known if known and share > _SHARE_OF_NO_FILE + _SHARE_OF_BYTES else raw.RAW)

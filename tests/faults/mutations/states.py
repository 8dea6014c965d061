"""State dicts that are whole files of the wrong contents: names, shapes, types, numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from linger_jax.converters.files.safetensors_file import read_safetensors_file, write_safetensors_file
from tests.faults.mutations.mutation import ODD_NAMES, ODD_REALS, Mutation, Random, pick

State = dict[str, Any]
_DTYPES = (
    *(torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.uint8, torch.bool, torch.complex64),
    torch.int32,
)


def _odd_tensor(random: Random, tensor: torch.Tensor) -> Any:
    flat = tensor.flatten()
    options = (
        *(lambda dtype=dtype: tensor.to(dtype) for dtype in _DTYPES),
        *(
            lambda value=value: torch.full_like(tensor, value) if tensor.is_floating_point() else tensor
            for value in ODD_REALS
        ),
        *(lambda: tensor.T if tensor.ndim == 2 else tensor[None], lambda: tensor[None], lambda: flat, lambda: flat[:0]),
        *(
            lambda: torch.zeros(()),
            lambda: flat[:1].expand(100),
            lambda: tensor.repeat(2, *[1] * max(tensor.ndim - 1, 0)),
        ),
        *(
            lambda: torch.ones(3, 3).to_sparse(),
            lambda: torch.zeros(2, device="meta"),
            lambda: None,
            lambda: [1.0, 2.0],
        ),
        *(
            lambda: 3,
            lambda: "text",
            lambda: {"a": tensor},
            lambda: torch.nn.Parameter(torch.ones(2)),
            lambda: b"bytes",
        ),
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    )
    return pick(random, options)()


def _changed(random: Random, state: State) -> Any:
    key = pick(random, list(state))
    kind = int(random.integers(9))
    if kind < 4:
        state[key] = _odd_tensor(random, state[key])
    elif kind == 4:
        state[str(pick(random, (*ODD_NAMES, "first.bias", "module.first.weight", "x.in_proj_weight")))] = state.pop(key)
    elif kind == 5:
        del state[key]
    elif kind == 6:
        state[str(pick(random, ("extra.weight", "first.weight_v", "first.weight_g", "a.output_quantizer.scale")))] = (
            state[key]
        )
    elif kind == 7:
        odd = (3, None, ("a",), 1.5, torch.float32)
        state[pick(random, odd)] = state[key]
    else:
        wrappers = ("model", "state_dict", "net", "module", "optimizer")
        return {pick(random, wrappers): state, pick(random, wrappers): pick(random, (state, 3, {"a": torch.ones(1)}))}
    return state


def other_contents(random: Random, path: Path) -> None:
    old = not path.read_bytes().startswith(b"PK")
    state = torch.load(path, weights_only=True)
    for _ in range(int(random.integers(1, 3))):
        if isinstance(state, dict) and all(isinstance(v, torch.Tensor) for v in state.values()) and state:
            state = _changed(random, dict(state))
    torch.save(state, path, _use_new_zipfile_serialization=not old)


def a_whole_module(random: Random, path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=bool(random.integers(2)))


def crowded(random: Random, path: Path) -> None:
    count = int(random.integers(200, 3000))
    torch.save({f"layer{i}.weight": torch.ones(2, 2) for i in range(count)}, path)


def other_arrays(random: Random, path: Path) -> None:
    """As ``other_contents``, for ``.safetensors``."""
    arrays = read_safetensors_file(path)
    key = pick(random, list(arrays))
    array = arrays[key]
    changes = (
        lambda: {**arrays, key: array.astype(str(pick(random, ("f8", "f2", "i4", "u1", "?"))))},
        lambda: {**arrays, key: np.full_like(array, pick(random, (0, 1, 3)))},
        lambda: {**arrays, key: array.T},
        lambda: {**arrays, key: array[..., None]},
        lambda: {k: v for k, v in arrays.items() if k != key},
        lambda: {**arrays, str(pick(random, ODD_NAMES)): array},
    )
    write_safetensors_file(path, pick(random, changes)())


STATES = (
    *(Mutation(other_contents),) * 8,
    Mutation(a_whole_module, refused=True),
    Mutation(crowded),
)
ARRAY_STATES = (Mutation(other_arrays),) * 5


def odd_scale(random: Random, path: Path) -> None:
    """A scale that no quantizer has."""
    odd = pick(random, (0.0, -8.0, 3.0, float("nan"), float("inf"), 2.0**30, 0.5, 1e-30, -0.0))
    if path.suffix == ".safetensors":
        arrays = read_safetensors_file(path)
        key = pick(random, [k for k in arrays if k.endswith(".scale")])
        write_safetensors_file(path, {**arrays, key: np.full_like(arrays[key], odd)})
    else:
        state = torch.load(path, weights_only=True)
        key = pick(random, [k for k in state if k.endswith(".scale")])
        torch.save({**state, key: torch.full_like(state[key], odd)}, path)


SCALES = (Mutation(odd_scale, refused=True),) * 3

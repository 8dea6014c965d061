"""Files and folders that hold a checkpoint: ``.pt``, ``.safetensors``, and either of them in several shards."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linger_jax.converters.files.safetensors_file import read_safetensors_file
from linger_jax.converters.files.torch_file import read_torch_file
from linger_jax.errors import ConversionError
from linger_jax.foreign_file import foreign_file

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WHOLE = ("model.safetensors", "pytorch_model.bin")
FOLDER_FILES = (*_INDEXES, *_WHOLE)
"""Files by which a folder is known as a checkpoint, the first that is there."""
_INDEX_ENDING = ".index.json"
_LARGEST_INDEX = 1 << 25


def read_checkpoint_file(path: str | os.PathLike[str], *, values: bool = True) -> Any:
    """What a file, or a folder with the usual names in it, holds.

    Args:
      path: of the file or folder.
      values: False where only shapes and dtypes are wanted.

    Raises:
      ConversionError: nothing usable is there, or it is damaged.
    """
    file = Path(path)
    if file.is_dir():
        found = [file / name for name in FOLDER_FILES if (file / name).is_file()]
        if not found:
            raise ConversionError(f"{file}: the folder holds none of {', '.join(FOLDER_FILES)}")
        file = found[0]
    if file.name.endswith(_INDEX_ENDING) and file.is_file():
        return _read_shards(file, values=values)
    if file.suffix == ".safetensors":
        return read_safetensors_file(file, values=values)
    return read_torch_file(path if file == Path(path) else file, values=values)


def _read_shards(index: Path, *, values: bool) -> dict[str, Any]:
    with foreign_file(
        index, ConversionError, "index of shards (it has no table weight_map)", most_bytes=_LARGEST_INDEX
    ):
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = list(dict.fromkeys(places.values()))
        tensors: dict[str, Any] = {}
        for name in shards:
            if not isinstance(name, str) or Path(name).name != name:
                raise ConversionError(f"{index}: the shard {name!r} is not a file name beside the index")
            contents = _read_shard(index.with_name(name), values=values)
            absent = [key for key, place in places.items() if place == name and key not in contents]
            if absent:
                raise ConversionError(
                    f"{index.with_name(name)}: lacks {', '.join(absent[:5])}, which {index.name} says it holds"
                )
            tensors.update({key: contents[key] for key, place in places.items() if place == name})
        return {key: tensors[key] for key in places}


def _read_shard(shard: Path, *, values: bool) -> Mapping[str, Any]:
    if shard.suffix == ".safetensors":
        return read_safetensors_file(shard, values=values)
    contents = read_torch_file(shard, values=values)
    if not isinstance(contents, Mapping):
        raise ConversionError(f"{shard}: is a {type(contents).__name__}, not a mapping of tensors")
    return contents

"""Reading a ``.pt`` / ``.pth`` file: tensors only, no code of the file is ever executed."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linger_jax.atomic_file import write_file
from linger_jax.converters.files.pickle_check import check_pickle
from linger_jax.errors import ConversionError
from linger_jax.foreign_file import foreign_file, translated

_CHUNK = 1 << 20
_PICKLE = "data.pkl"
_NAME_LENGTHS = 26
"""Where a member's own header has the lengths of its name and its extra field, which end it."""
_PICKLES_OF_OLD_FORMAT = 5
"""Magic number, version, machine, the object, names of its storages."""


def require_torch() -> Any:
    """The ``torch`` module.

    Raises:
      ConversionError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ConversionError(
            "reading PyTorch checkpoints needs PyTorch, which is not installed: pip install 'linger-jax[torch]'"
        ) from error
    return torch


def read_torch_file(path: str | os.PathLike[str], *, values: bool = True) -> Any:
    """What ``torch.save`` wrote, tensors on the CPU.

    Args:
      path: of the file.
      values: False where only shapes and dtypes are wanted: the file is mapped rather than read where its format allows
        it. Sizes of the tensors are compared with those of their records when they are read.

    Raises:
      ConversionError: the file is missing, empty, truncated or damaged, or holds Python objects that are not tensors
        or plain containers. Objects are refused by their name in the file: nothing of them is imported or run.
    """
    file = Path(path)
    remedy = "copy it again, or save the model's state_dict() again"
    with foreign_file(file, ConversionError, "file of torch.save", remedy):
        if file.stat().st_size == 0:
            raise ConversionError(f"{file}: is empty (0 bytes); copy or save the checkpoint again")
        torch = require_torch()
        archive = _check_archive(file)
        if not archive:
            _check_pickles(file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about old pickle protocols; the reader refuses what it cannot read
                return torch.load(file, map_location="cpu", weights_only=True, mmap=archive and not values)
        except pickle.UnpicklingError as error:
            raise ConversionError(_objects_text(file, str(error))) from None


def write_torch_file(path: str | os.PathLike[str], tensors: Mapping[str, Any]) -> None:
    """Saves tensors for ``torch.load``; the file appears, or changes, only when everything is written.

    Raises:
      FileError: the folder does not exist or cannot be written to.
    """
    # In memory first: where the disk is full, PyTorch's own writer ends the process.
    content = io.BytesIO()
    require_torch().save(dict(tensors), content)
    write_file(path, content.getbuffer(), make_folders=False)


def _check_archive(file: Path) -> bool:
    """Whether the file is a zip archive, the format of torch >= 1.6; its members are compared with their checksums."""
    with file.open("rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            return False
    with (
        translated(str(file), ConversionError, "is truncated or damaged", "copy the checkpoint again"),
        zipfile.ZipFile(file) as archive,
    ):
        members = archive.infolist()
        names = [member.filename for member in members]
        if any(name.endswith("/constants.pkl") for name in names):
            raise ConversionError(
                f"{file}: is a TorchScript archive, which is a program; load it with torch.jit.load and save its "
                f"state_dict()"
            )
        compressed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
        if compressed:
            raise ConversionError(f"{file}: {compressed[0]} is compressed; torch.save never does that")
        if sum(member.file_size for member in members) > file.stat().st_size:
            raise ConversionError(f"{file}: its members claim more bytes than the file has")
        if len(set(names)) != len(names):
            raise ConversionError(f"{file}: has two members of one name; torch.save never does that")
        for member in members:
            if member.CRC:  # zero where the writer was told to leave checksums out
                with archive.open(member) as stream:
                    while stream.read(_CHUNK):
                        pass
        for member in members:
            if member.filename.endswith(_PICKLE):
                check_pickle(io.BytesIO(_stored(file, member)))
    return True


def _stored(file: Path, member: zipfile.ZipInfo) -> bytes:
    """Bytes of a member, whatever its checksum."""
    with file.open("rb") as stream:
        stream.seek(member.header_offset + _NAME_LENGTHS)
        lengths = struct.unpack("<HH", stream.read(4))
        stream.seek(sum(lengths), os.SEEK_CUR)
        return stream.read(member.file_size)


def _check_pickles(file: Path) -> None:
    """The pickles in front of the numbers, in the format before torch 1.6."""
    # Mapped: reading as much as a damaged pickle says takes no more memory than there is file.
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for _ in range(_PICKLES_OF_OLD_FORMAT):
            if data.tell() < len(data):
                check_pickle(data)


def _objects_text(file: Path, message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"[Cc]lass ([\w.]+)", message)
    what = f"the Python object {found[1]}" if found else "Python objects"
    return (
        f"{file}: holds {what} beside tensors, or is damaged; only tensors are read, since loading objects runs code "
        f"from the file. Where the file is trusted, load it in PyTorch and save model.state_dict()"
    )

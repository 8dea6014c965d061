"""What a reader of a file has to know of the dialect that the file is written in.

How a file of a dialect is made stands in ``export/dialects``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileDialect:
    """How the nodes of a file are to be understood, where dialects differ.

    Attributes:
      name: in the file's metadata.
      time_axes: where the time lies in the data of an LSTM or a GRU, for ``batch_first`` 0 and 1.
    """

    name: str
    time_axes: tuple[int, int]


LINGER_FILES = FileDialect(name="linger", time_axes=(0, 1))
"""As linger 3.0.9 writes files; files that name no dialect are of this one."""
THINKER_FILES = FileDialect(name="thinker", time_axes=(1, 0))
"""As the vendor's executor reads them."""

FILE_DIALECTS: Mapping[str, FileDialect] = {dialect.name: dialect for dialect in (LINGER_FILES, THINKER_FILES)}
"""By name."""

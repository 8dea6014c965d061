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
      time_axes: where the time lies in the data of an LSTM, for ``batch_first`` 0 and 1; of a GRU of linger's kernel
        too.
      results_are_float32: of more than 24 bits they hold what float32 does, as evaluation does.
    """

    name: str
    time_axes: tuple[int, int]
    results_are_float32: bool


LINGER_FILES = FileDialect(name="linger", time_axes=(0, 1), results_are_float32=True)
"""As linger 3.0.9 writes files; files that name no dialect are of this one."""
THINKER_FILES = FileDialect(name="thinker", time_axes=(1, 0), results_are_float32=True)
"""As the vendor's executor reads them, computing what evaluation computes."""
EXECUTOR_FILES = FileDialect(name="executor", time_axes=(1, 0), results_are_float32=False)
"""As the vendor's executor computes them, whoever wrote them for it."""

FILE_DIALECTS: Mapping[str, FileDialect] = {
    dialect.name: dialect for dialect in (LINGER_FILES, THINKER_FILES, EXECUTOR_FILES)
}
"""By name."""

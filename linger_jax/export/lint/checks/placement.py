"""Where tensors must lie for the executor to be right (spec/onnx_export.md section 5)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from linger_jax.config import Platform
from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.finding import Problem, Severity
from linger_jax.export.lint.pack_options import PackOptions
from linger_jax.export.lint.program import Program
from linger_jax.export.lint.site import Site


def rows(site: Site) -> int:
    """Rows that a linear layer works on; 1 where the shape is not known."""
    shape = site.shape()
    return 1 if shape is None else math.prod(shape[:-1])


def _linear_rows(site: Site, program: Program) -> Iterator[Problem]:
    """venusA transposes the result in place in share memory, and corrupts it."""
    del program
    count = rows(site)
    if count > 1:
        yield Problem(
            severity=Severity.note,
            found=f"{count} rows with the result in share memory",
            limit="1 row, or the result in PSRAM",
            remedy="Give the packer the option",
            options=PackOptions(psram=(site.outputs[0].name,)),
        )


CHECKS = (Check("linear rows", _linear_rows, {"QLinear"}, {Platform.venusA}),)

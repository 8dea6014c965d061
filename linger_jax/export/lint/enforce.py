"""What follows from a report: an error or a warning."""

from __future__ import annotations

import warnings

from linger_jax.errors import DeviceLintError, LingerWarning
from linger_jax.export.lint.device_report import DeviceReport

_MOST_SHOWN = 8


def enforce(report: DeviceReport, what: str, *, strict: bool) -> None:
    """Refuses a file that the device would refuse or compute otherwise, or warns of it.

    Args:
      report: of the file.
      what: the file, for the message.
      strict: whether to refuse.

    Raises:
      DeviceLintError: the report has findings that block, and ``strict`` is set.
    """
    if report.ok:
        return
    shown = [f"\n  {finding}" for finding in report.blocking[:_MOST_SHOWN]]
    rest = len(report.blocking) - len(shown)
    more = f"\n  and {rest} more: linger-jax check" if rest > 0 else ""
    message = f"{what}: {report.platform.value} does not run it as it is:{''.join(shown)}{more}"
    if strict:
        raise DeviceLintError(message, report)
    warnings.warn(message, LingerWarning, stacklevel=3)

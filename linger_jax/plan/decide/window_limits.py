"""Platform limits of kernels, strides and paddings, checked when the plan is built.

Source: docs/specification/config.md section 2.3.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Iterable
from typing import Any

from linger_jax.config import Platform
from linger_jax.errors import PlatformLimitError


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    text = importlib.resources.files("linger_jax.numerics").joinpath("tables/platform_limits.json").read_text()
    platforms: dict[str, dict[str, Any]] = json.loads(text)["platforms"]
    return platforms


def check_window(
    layer: str,
    platform: Platform,
    *,
    kernel: Iterable[int] = (),
    stride: Iterable[int] = (),
    padding: Iterable[int] = (),
) -> None:
    """Checks every element of a window.

    Args:
      layer: dotted path of the layer, for the message.
      platform: the target.
      kernel, stride, padding: elements to check; leave out what is exempt.

    Raises:
      PlatformLimitError: names layer, platform, value and allowed range.
    """
    limits = _table()[platform.value]
    for what, values in (("kernel", kernel), ("stride", stride), ("padding", padding)):
        allowed = limits[what]
        if allowed is None:
            continue
        for value in values:
            if what == "stride":
                inside, text = value in allowed, f"one of {', '.join(map(str, allowed))}"
            else:
                inside, text = allowed[0] <= value <= allowed[1], f"{allowed[0]} to {allowed[1]}"
            if not inside:
                raise PlatformLimitError(
                    f"layer {layer!r}: {what} {value} is outside what {platform.value} can run ({text}). "
                    f"Change the layer, choose another platform, or leave the layer float with disable_submodel."
                )

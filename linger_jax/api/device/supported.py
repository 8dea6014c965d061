"""What can be quantized, by platform: read off the tables that planning itself uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from rich.table import Table

from linger_jax.kinds import LSTM, OPERATORS, OperatorKind
from linger_jax.plan import as_text
from linger_jax.staging import LAYERS, RECURRENT_LAYERS
from linger_jax.targets import Platform


@dataclasses.dataclass(frozen=True)
class Supported:
    """Layers and operators with an integer form; printing it gives a table.

    Attributes:
      layers: class name -> names of the platforms that run it, for every Flax class that is recognised.
      operators: operator -> names of the platforms that run it; ``disable_ops`` takes these names.
    """

    layers: Mapping[str, tuple[str, ...]]
    operators: Mapping[str, tuple[str, ...]]

    def table(self) -> Table:
        """A line for each layer and operator, a column for each platform, for ``rich``."""
        result = Table(title="quantized by linger_jax")
        for column in ("", *(platform.value for platform in Platform)):
            result.add_column(column)
        for section, entries in (("layer", self.layers), ("operator", self.operators)):
            for name, platforms in entries.items():
                marks = ("yes" if platform.value in platforms else "-" for platform in Platform)
                result.add_row(f"{section} {name}", *marks)
        return result

    def __str__(self) -> str:
        return as_text(self.table())


def supported() -> Supported:
    """What has an integer form, by platform; everything else of a model runs as float and is listed in its plan.

    An elementwise function without a kernel runs as a table of its results, of operands of 8 bits (``table``).
    Operators that only hand a scale on (``relu``, pooling by maximum, reshape, ...) run everywhere and are not listed.
    """
    layers: dict[str, tuple[str, ...]] = {}
    for module_type, (kind, _) in LAYERS.items():
        if kind.is_quantized:
            layers[module_type.__name__] = _platforms(Platform, kind.runs_on)
    for module_type in RECURRENT_LAYERS:
        layers[module_type.__name__] = _platforms(Platform, LSTM.runs_on)
    operators = {kind.name: _platforms(Platform, _runs(kind)) for kind in OPERATORS}
    return Supported(layers, operators)


def _runs(kind: OperatorKind) -> Callable[[Platform], bool]:
    """Where an operator runs: by a kernel, or of 8 bits as a table of its results."""
    return lambda platform: kind.is_function_of_each_element or kind.runs_on(platform)


def _platforms(every: Iterable[Platform], runs: Callable[[Platform], bool]) -> tuple[str, ...]:
    return tuple(platform.value for platform in every if runs(platform))

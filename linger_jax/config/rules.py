"""Values that are well formed and still refused, because no chip or no exact result stands behind them.

`compat: reference` accepts most of them: the reference toolkit stores these keys and never reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linger_jax.config.enums import Compat, RoundMode
from linger_jax.errors import ConfigProblem

if TYPE_CHECKING:
    from linger_jax.config.quant_config import QuantConfig
    from linger_jax.config.sections import QuantInfo

_PER_CHANNEL = (
    "true is refused: the chip keeps one power-of-two scale per tensor and has none per channel. Allowed: false"
)
_ASYMMETRIC = "false is refused: the chip has no zero points, every quantizer is symmetric. Allowed: true"
_CEIL = (
    "'ceil' is refused: the reference toolkit computes 'round' for it and no chip rounds up, so a result would match "
    "neither. Allowed: floor, floor_add, round"
)


def broken_rules(config: QuantConfig) -> Iterator[ConfigProblem]:
    """Yields every rule across or beyond single keys that `config` breaks.

    Source: docs/specification/config.md section 1, docs/decisions.md D14 and D15.
    """
    if config.compat is Compat.reference:
        return
    if config.dtype != "float32":
        yield ConfigProblem(
            ("dtype",),
            f"'{config.dtype}' is refused: scales, thresholds and integers are exact in float32 only. "
            "Allowed: torch.float32 (or float32)",
        )
    yield from _refused_quant_keys(config.quant_info, ("quant_info",), frozenset(type(config.quant_info).model_fields))
    for index, part in enumerate(config.parts):
        here: tuple[str | int, ...] = ("parts", index)
        if part.quant_method not in (None, config.quant_method):
            yield ConfigProblem(
                (*here, "quant_method"),
                f"a part cannot change quant_method, it is global ({config.quant_method}). Set it at the top level",
            )
        if part.quant_info is None:
            continue
        named = part.quant_info.model_fields_set
        yield from _refused_quant_keys(part.quant_info, (*here, "quant_info"), frozenset(named))
        if "qat_method" in named and part.quant_info.qat_method is not config.quant_info.qat_method:
            yield ConfigProblem(
                (*here, "quant_info", "qat_method"),
                f"a part cannot change qat_method, it is global ({config.quant_info.qat_method}) and this part asks "
                f"for {part.quant_info.qat_method}. Set it in the top-level quant_info",
            )


def _refused_quant_keys(
    info: QuantInfo, where: tuple[str | int, ...], named: frozenset[str]
) -> Iterator[ConfigProblem]:
    if "is_perchannel" in named and info.is_perchannel:
        yield ConfigProblem((*where, "is_perchannel"), _PER_CHANNEL)
    if "is_symmetry" in named and not info.is_symmetry:
        yield ConfigProblem((*where, "is_symmetry"), _ASYMMETRIC)
    if "round_mode" in named and info.round_mode is RoundMode.ceil:
        yield ConfigProblem((*where, "round_mode"), _CEIL)

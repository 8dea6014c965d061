"""Values that are well formed and still refused, because no chip or no exact result stands behind them.

``compat: reference`` accepts most of them: the reference toolkit stores these keys and never reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from linger_jax.config.enums import Compat, QuantMethod, RoundMode
from linger_jax.config.sections import Part, QuantInfo
from linger_jax.errors import ConfigProblem

_PER_CHANNEL = (
    "true is refused: the chip keeps one power-of-two scale per tensor and has none per channel. Allowed: false"
)
_ASYMMETRIC = "false is refused: the chip has no zero points, every quantizer is symmetric. Allowed: true"
_CEIL = (
    "'ceil' is refused: the reference toolkit computes 'round' for it and no chip rounds up, so a result would match "
    "neither. Allowed: floor, floor_add, round"
)


def broken_rules(
    *, quant_info: QuantInfo, parts: Sequence[Part], quant_method: QuantMethod, dtype: str, compat: Compat
) -> Iterator[ConfigProblem]:
    """Yields every rule across or beyond single keys that these values break.

    Source: docs/specification/config.md section 1, docs/decisions.md D14 and D15.
    """
    if compat is Compat.reference:
        return
    if dtype != "float32":
        yield ConfigProblem(
            ("dtype",),
            f"'{dtype}' is refused: scales, thresholds and integers are exact in float32 only. "
            "Allowed: torch.float32 (or float32)",
        )
    yield from _refused_quant_keys(quant_info, ("quant_info",), frozenset(type(quant_info).model_fields))
    for index, part in enumerate(parts):
        here: tuple[str | int, ...] = ("parts", index)
        if part.quant_method not in (None, quant_method):
            yield ConfigProblem(
                (*here, "quant_method"),
                f"a part cannot change quant_method, it is global ({quant_method}). Set it at the top level",
            )
        if part.quant_info is None:
            continue
        named = part.quant_info.model_fields_set
        yield from _refused_quant_keys(part.quant_info, (*here, "quant_info"), frozenset(named))
        if "qat_method" in named and part.quant_info.qat_method is not quant_info.qat_method:
            yield ConfigProblem(
                (*here, "quant_info", "qat_method"),
                f"a part cannot change qat_method, it is global ({quant_info.qat_method}) and this part asks "
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

"""Makes a case that went wrong as small as it gets."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator

from tests.equality.drawn.case import Case, Numbers

_NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")


def shrink(case: Case, still_wrong: Callable[[Case], bool], tries: int = 150) -> Case:
    """The smallest case found that still goes wrong.

    Args:
      case: goes wrong.
      still_wrong: whether a smaller one does; a case that cannot be made does not.
      tries: calls of it, at most.
    """
    seen = {case}
    before = None
    while before != case:
        before = case
        for reduce in REDUCERS:
            smaller: Case | None = case
            while smaller is not None:
                smaller = None
                for candidate in simpler(case, reduce):
                    if candidate in seen:
                        continue
                    if len(seen) > tries:
                        return case
                    seen.add(candidate)
                    if still_wrong(candidate):
                        case = smaller = candidate
                        break
    return case


def simpler(case: Case, reduce: Callable[[Case], Iterator[Case]]) -> Iterator[Case]:
    """Cases that have something less, without what that leaves unused."""
    for smaller in reduce(case):
        smaller = smaller.without_dead_steps()
        if smaller.lines:
            yield smaller


def _training(case: Case) -> Iterator[Case]:
    """Fewer steps, and fewer samples."""
    if case.numbers.steps:
        yield _with(case, steps=0, calibrated=True)
    if case.numbers.steps > 1:
        yield _with(case, steps=1)
    if case.fused:
        yield dataclasses.replace(case, fused=False)
    for batch in (1, 2):
        if case.batch > batch:
            yield dataclasses.replace(case, batch=batch)


def _usual_numbers(case: Case) -> Iterator[Case]:
    """Usual magnitudes."""
    usual = Numbers(seed=0)
    for field in dataclasses.fields(Numbers):
        if field.name not in ("steps", "calibrated"):
            changed = _with(case, **{field.name: getattr(usual, field.name)})
            if changed != case:
                yield changed


def _with(case: Case, **changes: object) -> Case:
    return dataclasses.replace(case, numbers=dataclasses.replace(case.numbers, **changes))  # type: ignore[arg-type]


def _outputs(case: Case) -> Iterator[Case]:
    """One output, and as early a one as there is."""
    if len(case.outputs) > 1:
        for output in case.outputs:
            yield dataclasses.replace(case, outputs=(output,))
    for line in case.lines[:-1]:
        if case.outputs != (line.target,):
            yield dataclasses.replace(case, outputs=(line.target,))


def _steps(case: Case) -> Iterator[Case]:
    """Without a line: what reads it reads an operand of it."""
    for place, line in enumerate(case.lines):
        for operand in line.operands:
            name = re.compile(rf"\b{line.target}\b")
            rest = tuple(
                dataclasses.replace(other, text=name.sub(operand, other.text)) for other in case.lines[place + 1 :]
            )
            outputs = tuple(operand if output == line.target else output for output in case.outputs)
            kept = tuple(dict.fromkeys(output for output in outputs if output.startswith("v")))
            if kept:
                yield dataclasses.replace(case, lines=(*case.lines[:place], *rest), outputs=kept)


def _configurations(case: Case) -> Iterator[Case]:
    """The defaults, all at once or key by key."""
    config = case.configuration
    yield case.configured({"platform": config["platform"]})
    for key, value in config.items():
        if key == "platform":
            continue
        yield case.configured({other: config[other] for other in config if other != key})
        if isinstance(value, dict):
            for inner, found in value.items():
                if isinstance(found, dict):
                    for name in found:
                        less = {other: found[other] for other in found if other != name}
                        yield case.configured({**config, key: {**value, inner: less}})
                elif inner != "name":
                    yield case.configured({**config, key: {other: value[other] for other in value if other != inner}})


def _sizes(case: Case) -> Iterator[Case]:
    """Smaller numbers in the steps, and smaller inputs."""
    for place, entry in enumerate(case.inputs):
        for axis, extent in enumerate(entry.shape):
            for less in _below(extent):
                shape = (*entry.shape[:axis], less, *entry.shape[axis + 1 :])
                inputs = (*case.inputs[:place], dataclasses.replace(entry, shape=shape), *case.inputs[place + 1 :])
                yield dataclasses.replace(case, inputs=inputs)
    for place, line in enumerate(case.lines):
        for found in _NUMBER.finditer(line.text):
            for less in _below(int(found[0])):
                text = f"{line.text[: found.start()]}{less}{line.text[found.end() :]}"
                lines = (*case.lines[:place], dataclasses.replace(line, text=text), *case.lines[place + 1 :])
                yield dataclasses.replace(case, lines=lines)


def _below(number: int) -> tuple[int, ...]:
    return tuple(sorted({less for less in (1, 2, number // 2, number - 1) if 0 < less < number}))


REDUCERS = (_outputs, _training, _steps, _configurations, _usual_numbers, _sizes)
"""The greatest steps first."""

"""Each chip has a record that leaves nothing out, and somebody reads each field of it."""

from __future__ import annotations

import ast
import dataclasses
import json
import typing
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import linger_jax
from linger_jax.errors import ExportError
from linger_jax.targets import (
    DEFAULT_PLATFORM,
    Device,
    NarrowArithmetic,
    Platform,
    Target,
    WideArithmetic,
    device_of,
    packed_platforms,
    target_of,
)

PACKAGE = Path(linger_jax.__file__).parent
RECORDS = PACKAGE / "targets"


def record_types(record: type = Target) -> Iterator[type]:
    """A record type and those of its fields."""
    yield record
    for annotation in typing.get_type_hints(record).values():
        for part in (annotation, *typing.get_args(annotation)):
            if dataclasses.is_dataclass(part) and isinstance(part, type):
                yield from record_types(part)


TYPES = list(dict.fromkeys(record_types()))
FIELDS = [(record, field.name) for record in TYPES for field in dataclasses.fields(record)]
WITH_KERNELS = [platform for platform in Platform if target_of(platform).kernels is not None]


def table(name: str) -> dict[str, Any]:
    return json.loads(resources.files("linger_jax.numerics").joinpath(f"tables/{name}.json").read_text("utf-8"))


def attributes_read() -> set[str]:
    """Names of attributes that code outside the records reads."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(RECORDS):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found


def test_every_platform_has_a_record_of_its_own():
    records = [target_of(platform) for platform in Platform]
    assert all(isinstance(record, Target) for record in records)
    assert len({id(record) for record in records}) == len(Platform)


def test_a_record_is_found_by_the_name_that_a_configuration_gives():
    assert target_of("venusA") is target_of(Platform.venusA) is target_of(DEFAULT_PLATFORM)  # type: ignore[arg-type]


@pytest.mark.parametrize("record", TYPES)
def test_no_field_has_a_default_and_a_forgotten_one_is_an_error(record):
    given: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(record))
    record(**given)
    for forgotten in given:
        with pytest.raises(TypeError, match=f"missing 1 required keyword-only argument: '{forgotten}'"):
            record(**{name: value for name, value in given.items() if name != forgotten})


@pytest.mark.parametrize("record", TYPES)
def test_records_are_frozen(record):
    made = record(**dict.fromkeys(field.name for field in dataclasses.fields(record)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(record)[0].name, 1)


def test_every_field_is_read():
    read = attributes_read()
    assert {f"{record.__name__}.{name}" for record, name in FIELDS if name not in read} == set()


def test_every_field_is_explained():
    """A string under each field says what it means; of small records the class says who reads them."""
    silent = []
    for path in RECORDS.glob("*.py"):
        for record in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(record, ast.ClassDef):
                continue
            for field, text in zip(record.body, [*record.body[1:], None], strict=True):
                explained = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and not explained:
                    silent.append(f"{record.name}.{ast.unparse(field.target)}")
    assert silent == []


@pytest.mark.parametrize("platform", WITH_KERNELS)
def test_formats_of_the_kernels_are_those_of_their_tables(platform):
    kernels = target_of(platform).kernels
    assert kernels is not None
    curve = kernels.sigmoid_tanh
    match curve.arithmetic:
        case NarrowArithmetic(result_fraction_bits=kept) | WideArithmetic(kept_fraction_bits=kept):
            pass
    for name, op in ((curve.sigmoid_table, "sigmoid"), (curve.tanh_table, "tanh")):
        content = table(name)
        assert (content["op"], content["in_q"], content["out_q"]) == (op, curve.input_fraction_bits, kept)
        assert content["bands"][-1] == 2 ** (curve.input_bits - 1)
    if kernels.gelu_swish is not None:
        assert table(kernels.gelu_swish.gelu_table)["op"] == "gelu"
        assert table(kernels.gelu_swish.swish_table)["op"] == "swish"


def test_a_chip_that_the_packer_does_not_know_has_no_device():
    assert isinstance(device_of(Platform.arcs), Device)
    with pytest.raises(ExportError, match=r"know platform 'jupiter'; allowed: venus, mars, arcs, venusA"):
        device_of(Platform.jupiter)


def test_a_fault_of_an_executor_was_measured():
    """Of a chip without an executor no fault is known."""
    for platform in packed_platforms():
        known = dataclasses.asdict(device_of(platform).executor)
        assert known.pop("measured") or not any(known.values()), platform

"""YAML and JSON that parse, or nearly: bombs, depth, tags, odd values in the place of good ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.faults.mutations.mutation import ODD_NAMES, ODD_NUMBERS, ODD_REALS, Mutation, Random, on_bytes, pick


def aliases_by_the_billion(random: Random, data: bytes) -> bytes:
    kind, levels = int(random.integers(4)), int(random.integers(7, 40))
    rows = ["a0: &a0 [x]" if kind < 2 else "a0: &a0 {k: x}"]
    for j in range(1, levels):
        before = [f"*a{j - 1}"] * 9
        rows.append(
            f"a{j}: &a{j} "
            + {
                0: f"[{', '.join(before)}]",
                1: f"[[{', '.join(before)}], {before[0]}]",
                2: "{" + ", ".join(f"k{w}: {b}" for w, b in enumerate(before)) + "}",
                3: "{<<: [" + ", ".join(before) + "]}",
            }[kind]
        )
    return "\n".join(rows).encode()


def alias_of_itself(random: Random, data: bytes) -> bytes:
    return pick(random, (b"&a [*a]\n", b"a: &a {b: *a}\n", b"- &a [x, [*a]]\n", b"a: &a {<<: *a}\n", b"&a {*a : 1}\n"))


def deep(random: Random, data: bytes) -> bytes:
    depth = int(random.integers(100, 100_000))
    opened, closed = pick(random, ((b"[", b"]"), (b"{a: ", b"}"), (b"- ", b""), (b"? ", b""), (b'{"a":', b"}")))
    return opened * depth + b"1" + closed * depth


def objects(random: Random, data: bytes) -> bytes:
    tags = ("python/object/apply:os.system ['touch escape']", "python/name:os.system", "python/object/new:set [[1]]")
    return b"platform: !!" + pick(random, tags).encode() + b"\n"


def odd_scalar(random: Random, data: bytes) -> bytes:
    scalars = (
        b"!!int ''", b"!!timestamp foo", b"2001-99-99", b"!!binary '*'", b"0x" + b"f" * 6000, b"1:" * 50_000 + b"1",
        b"!!set {a, b}", b"!!omap [a: 1]", b".nan", b".inf", b"1e999", b"9" * 6000, b"~", b"!!float ''", b"? [a]\n: b",
        b"!!null x", b"'" + b"a" * 100_000 + b"'", b"\xef\xbb\xbfa", b"\xff", b"\x00", b"!!bool maybe", b"!!pairs [x]",
    )  # fmt: skip
    found = list(re.finditer(rb": *[^\s{\[]+", data))
    if not found:
        return data + pick(random, scalars)
    place = pick(random, found)
    return data[: place.start()] + b": " + pick(random, scalars) + data[place.end() :]


def many_entries(random: Random, data: bytes) -> bytes:
    row = pick(random, (b"- a\n", b"[a,b],\n", b"a: 1\n", b"#\n", b"a,"))
    return data + b"\n" + row * int(random.integers(1000, 300_000))


def key_twice(random: Random, data: bytes) -> bytes:
    rows = data.splitlines(keepends=True)
    return data + pick(random, rows) if rows else data


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += _paths(inner, (*path, key))
    return found


def odd_value(random: Random) -> Any:
    """Something that is seldom right."""
    options = (
        *(lambda: pick(random, ODD_NUMBERS), lambda: pick(random, ODD_REALS), lambda: str(pick(random, ODD_NAMES))),
        *(
            lambda: None,
            lambda: [],
            lambda: {},
            lambda: [[[1]]],
            lambda: {"a": {"b": []}},
            lambda: True,
            lambda: "1e-3",
        ),
    )
    return pick(random, options)()


def _with_odd_value(load: Callable[[str], Any], dump: Callable[[Any], str]) -> Callable[[Random, bytes], bytes]:
    def value_replaced(random: Random, data: bytes) -> bytes:
        value = load(data.decode())
        path = pick(random, _paths(value))
        inner = value
        for step in path[:-1]:
            inner = inner[step]
        if random.random() < 0.3 and isinstance(inner, dict):
            inner[pick(random, ODD_NAMES)] = inner.pop(path[-1])
        else:
            inner[path[-1]] = odd_value(random)
        return dump(value).encode("utf-8", "surrogatepass")

    return value_replaced


def catastrophic_rule(random: Random, path: Path) -> None:
    patterns = (
        r"(a+)+b",
        r"(.|.)*x",
        r"(\w*)*\.y",
        r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)x",
        r"(a|aa)+$",
        r"([a-z.]+)*!",
        "(" * 5000,
    )
    body = [[str(pick(random, patterns)), "x"], *([["encoder.*", "y"]] if random.random() < 0.5 else [])]
    path.write_text(yaml.safe_dump(body))


def odd_rule(random: Random, path: Path) -> None:
    rules = (
        ["(", "x"], ["a", r"\9"], ["a{99999999999}", "x"], ["[", "x"], [r"(?P<n>a)(?P<n>b)", "x"], ["a", None], [1, 2],
        [r"(?i)first\.(.*)", r"\1"], [r"(\w+)\.(\w+)", r"\2.\1"], [r"(?<=a)b", ""], ["\u0661+", "x"], ["", "x"],
        [".", "x", "y"],
    )  # fmt: skip
    body = yaml.safe_load(path.read_text(errors="replace")) if random.random() < 0.5 else []
    path.write_text(yaml.safe_dump([*(body if isinstance(body, list) else []), pick(random, rules)]))


YAMLS = (
    *(Mutation(on_bytes(change)) for change in (deep, odd_scalar, odd_scalar, many_entries, key_twice)),
    *(Mutation(on_bytes(_with_odd_value(yaml.safe_load, yaml.safe_dump))),) * 4,
    *(Mutation(on_bytes(change), refused=True) for change in (aliases_by_the_billion, alias_of_itself, objects)),
)
RULES = (*YAMLS, Mutation(catastrophic_rule, refused=True), Mutation(odd_rule), Mutation(odd_rule))
JSONS = (
    Mutation(on_bytes(deep)),
    *(Mutation(on_bytes(_with_odd_value(json.loads, json.dumps))),) * 4,
)

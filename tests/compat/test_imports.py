"""Nobody outside ``linger_jax.compat`` touches what is private, unstable or different between releases."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import converters
import linger_jax

FOLDERS = [Path(package.__file__).parent for package in (linger_jax, converters)]
ROOM = FOLDERS[0] / "compat"

MODULES = (
    *("jax._src", "jax.api_util", "jax.core", "jax.custom_derivatives", "jax.experimental", "jax.extend"),
    *("jax.interpreters", "jax.linear_util", "jaxlib"),
    *("flax.core.lift", "flax.core.meta", "flax.core.partial_eval", "flax.core.scope", "flax.core.tracers"),
    *("flax.ids", "flax.linen.module", "flax.linen.transforms", "flax.linen.summary"),
)
"""Modules, with all that is below them. The rest of ``jax``, ``flax.core`` and ``flax.linen`` is documented."""

NAMES = (
    *("jax.enable_x64", "jax.ensure_compile_time_eval", "jax.make_user_context", "jax.dtypes.extended"),
    *("jax.lax.padtype_to_pads", "inspect.unwrap", "flax.errors.LazyInitError"),
)
"""Names of modules that are otherwise free."""

ATTRIBUTES = frozenset(
    {
        *("debug_info", "source_info", "constvars", "get_bind_params", "to_lojax"),
        *("num_leaves", "children", "lazy_init", "_global_interceptor_stack"),
    }
)
"""Attributes, whatever they are of: of jaxprs, equations and structures, of Flax modules."""


def forbidden(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each use."""
    tree = ast.parse(source)
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                known[alias.asname or top] = alias.name if alias.asname else top
                yield from _named(node, alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield from _named(node, f"{node.module}.{alias.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if node.attr in ATTRIBUTES:
                yield node.lineno, node.attr
            yield from _named(node, _dotted(node, known))
        elif isinstance(node, ast.Constant) and node.value in ATTRIBUTES:
            yield node.lineno, node.value


def _dotted(node: ast.expr, known: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, known)}.{node.attr}"
    return known.get(node.id, "") if isinstance(node, ast.Name) else ""


def _named(node: ast.stmt | ast.expr, dotted: str) -> Iterator[tuple[int, str]]:
    if any(dotted == name or dotted.startswith(f"{name}.") for name in (*MODULES, *NAMES)):
        yield node.lineno, dotted


FILES = [f for folder in FOLDERS for f in sorted(folder.rglob("*.py")) if ROOM not in f.parents]


def test_nothing_unstable_is_used_outside_the_room():
    found = [f"{file.name}:{line} {name}" for file in FILES for line, name in forbidden(file.read_text())]
    assert len(FILES) > 300
    assert not found


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import jax\nisinstance(x, jax.core.Tracer)", "jax.core.Tracer"),
        ("from jax.extend.core import Primitive", "jax.extend.core.Primitive"),
        ("from jax import core", "jax.core"),
        ("import jax._src.core as core", "jax._src.core"),
        ("from jax import lax\nlax.padtype_to_pads(a, b, c, d)", "jax.lax.padtype_to_pads"),
        ("import flax.linen as nn\nnn.transforms.__name__", "flax.linen.transforms.__name__"),
        ("from flax.core.scope import in_filter", "flax.core.scope.in_filter"),
        ("def f(eqn):\n    return eqn.source_info", "source_info"),
        ("getattr(module, '_global_interceptor_stack', True)", "_global_interceptor_stack"),
    ],
)
def test_each_way_of_using_such_a_name_is_seen(source, name):
    assert name in [found for _, found in forbidden(source)]


def test_documented_names_are_free():
    source = "import jax, flax.core\njax.tree.map(f, x)\njax.lax.scan(f, x)\nflax.core.unfreeze(v)"
    assert not list(forbidden(source))

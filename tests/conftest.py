"""What every test runs under: two CPU devices, and promotion rules that make an implicit cast or broadcast an error.

The environment is set before JAX is imported. With pytest-xdist each worker is a process of its own: PJRT_NPROC keeps
XLA's thread pool, which is as large as the machine otherwise, at one thread a device.
"""

import gc
import importlib.abc
import os
import sys
from pathlib import Path

_DEVICES = "--xla_force_host_platform_device_count=2"

if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}".strip()
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("PJRT_NPROC", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import psutil
import pytest

from linger_jax.errors import PackError
from linger_jax.export.packing.packer import find_packer

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# No test fails because a machine is busy: neither an example nor drawing it has a time limit.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

ROOT = Path(__file__).parent

TIERS = {
    "unit": (".", "config", "export/lint", "export/packing", "kinds", "plan", "staging", "targets"),
    "kernel": ("nn", "numerics", "quantizers"),
    "model": (),
}
"""The folders of each tier; every other folder is of ``model`` (tests/README.md)."""


COMPILED_AS_ARITHMETIC = ("equality", "nn", "numerics", "quantizers")
"""Folders that show that arithmetic withstands a compiler which contracts a product and a sum of floats. For the tests
of all others ``make test`` has it do the least; ``python -m tests.golden`` replays with all that it can do."""


def tier_of(item):
    """The tier of a test: the one that it is marked with, or that of its folder."""
    marked = [tier for tier in TIERS if item.get_closest_marker(tier)]
    folder = item.path.parent.relative_to(ROOT)
    listed = [tier for tier, names in TIERS.items() for name in names if Path(name) in (folder, *folder.parents[:-1])]
    return [*marked, *listed, "model"][0]


class _SkipsWithoutTorch(importlib.abc.MetaPathFinder):
    """Asked last, when nothing has found PyTorch: the test, or the file of tests, that imports it is skipped."""

    def find_spec(self, name, path, target=None):
        if name == "torch":
            pytest.skip("needs PyTorch, which is not installed here (make test has it)", allow_module_level=True)


sys.meta_path.append(_SkipsWithoutTorch())


def _may_compile_least(path):
    return path.relative_to(ROOT).parts[0] not in COMPILED_AS_ARITHMETIC


def pytest_ignore_collect(collection_path, config):
    """A run of what is compiled as arithmetic imports no other tests, which would take longer than some of it."""
    inside = collection_path != ROOT and ROOT in collection_path.parents
    return (
        True
        if inside and config.option.markexpr == "not least_compiled" and _may_compile_least(collection_path)
        else None
    )


def pytest_collection_modifyitems(items):
    """Marks the tiers, and puts long files first: the last ones are short, so that all processes end together."""
    for item in items:
        item.add_marker(tier_of(item))
        if _may_compile_least(item.path):
            item.add_marker("least_compiled")
    longest = [*reversed(TIERS)]
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, longest.index(tier_of(item))))


def pytest_collection_finish():
    """What was imported stays: not looking for garbage there, and less often, saves a twentieth of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


_COMPILED: list[str] = []
"""Names of the programs that XLA compiled, or read from its cache, since the test began."""


def _note_compilation(event, _, **details):
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILED.append(details.get("fun_name", "?"))


jax.monitoring.register_event_duration_secs_listener(_note_compilation)


@pytest.fixture
def compiled():
    """The names of the programs that were compiled since the test began; it grows."""
    return _COMPILED


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A test of the tier ``unit`` compiles nothing."""
    _COMPILED.clear()
    result = yield
    if _COMPILED and item.get_closest_marker("unit"):
        programs = ", ".join(dict.fromkeys(_COMPILED))
        pytest.fail(
            f"this test is of the tier unit, but XLA compiled {len(_COMPILED)} programs: {programs}. Give it shapes or "
            "arrays of NumPy (tests.models.drawn), or mark it as one of the tier model (kernel, where it tests "
            "arithmetic): tests/README.md.",
            pytrace=False,
        )
    return result


MOST_MEMORY = psutil.virtual_memory().total // 6
"""Bytes of a test process beyond which it forgets what it compiled: programs are kept for the life of a process."""


@pytest.fixture(scope="module", autouse=True)
def _bounded_memory():
    yield
    if psutil.Process().memory_info().rss > MOST_MEMORY:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _unchanged_jax_flags():
    """A test that flips a process-wide JAX flag and leaves it so would change the tests after it."""
    names = ("jax_enable_x64", "jax_numpy_dtype_promotion", "jax_numpy_rank_promotion")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    after = {name: getattr(jax.config, name) for name in names}
    assert after == before


@pytest.fixture
def flax_promotion():
    """Flax's own avg_pool divides a float by an integer."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def tpacker():
    """The vendor's packer; without one the test is skipped."""
    try:
        return find_packer()
    except PackError:
        pytest.skip("no tpacker: make pack-env")

"""What every test runs under: two CPU devices, and promotion rules that make an implicit cast or broadcast an error.

The environment is set before JAX is imported. With pytest-xdist each worker is a process of its own: PJRT_NPROC keeps
XLA's thread pool, which is as large as the machine otherwise, at one thread a device.
"""

import importlib.abc
import os
import sys

_DEVICES = "--xla_force_host_platform_device_count=2"

if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}".strip()
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("PJRT_NPROC", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import psutil
import pytest

from linger_jax.errors import PackError
from linger_jax.export.packing.packer import find_packer

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


class _SkipsWithoutTorch(importlib.abc.MetaPathFinder):
    """Asked last, when nothing has found PyTorch: the test, or the file of tests, that imports it is skipped."""

    def find_spec(self, name, path, target=None):
        if name == "torch":
            pytest.skip("needs PyTorch, which is not installed here (make test has it)", allow_module_level=True)


sys.meta_path.append(_SkipsWithoutTorch())


def pytest_collection_modifyitems(items):
    """Slow tests first: the last ones to run should be short, so that all processes end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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


@pytest.fixture(scope="session")
def tpacker():
    """The vendor's packer; without one the test is skipped."""
    try:
        return find_packer()
    except PackError:
        pytest.skip("no tpacker: make pack-env")

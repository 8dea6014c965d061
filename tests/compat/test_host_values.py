"""Values on the host; of several processes: ``tests/parallel/test_processes.py``."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linger_jax.compat import on_host


def test_an_array_in_parts_comes_whole():
    values = np.arange(8, dtype=np.float32)
    mesh = Mesh(np.array(jax.devices()[:2]), ("parts",))
    parts = jax.device_put(values, NamedSharding(mesh, PartitionSpec("parts")))
    assert len(parts.addressable_shards) == 2
    for given in (values, parts):
        got = on_host(given)
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, values)

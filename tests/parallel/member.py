"""One of the processes that share a batch: ``python -m tests.parallel.member``, started by ``processes``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import linger_jax
from tests.parallel.course import Place, course
from tests.parallel.devices import part
from tests.parallel.networks import METHODS, NETWORKS
from tests.parallel.processes import PROCESSES, read, written


def joined(port: int, number: int) -> Place:
    """Joins the others; the place of all their devices."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # A collective holds a thread until the other process comes; two programs at once would wait for each other.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.distributed.initialize(f"localhost:{port}", PROCESSES, number)
    assert len(jax.devices()) == PROCESSES * len(jax.local_devices()), jax.devices()
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    halves, whole = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())

    def spread(x: np.ndarray) -> jax.Array:
        """Of a batch this process gives its own half alone."""
        mine = np.split(x, PROCESSES)[number]
        return jax.make_array_from_process_local_data(halves, mine, x.shape)

    def everywhere(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(whole, np.asarray(leaf)), tree)

    def in_parts(tree: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.make_array_from_callback(leaf.shape, part(leaf, mesh), lambda index: leaf[index]), tree
        )

    gather = jax.jit(lambda tree: tree, out_shardings=whole)
    return Place(spread, everywhere, in_parts, lambda tree: jax.tree.map(np.asarray, gather(tree)))


def main(name: str, method: str, folder: str, port: str, number: str) -> None:
    """Runs a course together with the others, and writes what came out."""
    warnings.filterwarnings("ignore", ".*the constant", linger_jax.LingerWarning)  # one over a root, clipped
    place = joined(int(port), int(number))
    own = Path(folder, f"files{number}")
    own.mkdir()
    found = course(NETWORKS[name], METHODS[method], place, own, lead=read(Path(folder, "one")))
    Path(folder, f"member{number}").write_bytes(written(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Time and peak memory of exporting a ResNet-50, and of reading the file back.

    python benchmarks/export_size.py --fused

The model is trained for nothing: scales are set by hand, so that export is all that is measured. The peak is that of
the process, JAX, the model's variables and all compilation included; compilation caches are off.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from resnet50 import ResNet50

import linger_jax


def peak_mb() -> float:
    """Peak resident memory of this process in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def with_scales(variables: Any, scale: float) -> Any:
    """Every quantizer at one scale, as if it had seen data."""

    def leaf(path: Any, value: jax.Array) -> jax.Array:
        name = path[-1].key
        return jnp.full_like(value, scale) if name == "scale" else jnp.ones_like(value)

    return {**variables, "quant": jax.tree_util.tree_map_with_path(leaf, variables["quant"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fused", action="store_true", help="fold normalization into the convolutions first")
    parser.add_argument("--size", type=int, default=224, help="of the image")
    parser.add_argument("--dialect", default="linger", choices=["linger", "thinker"])
    args = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    model: Any = ResNet50()
    x = jnp.zeros((1, args.size, args.size, 3), jnp.float32)
    floats = jax.jit(lambda: model.init(jax.random.key(0, impl="rbg"), x))()
    if args.fused:
        model, floats, _ = linger_jax.trace_layers(model, floats, x)
    qmodel = linger_jax.init(model, {"platform": "arcs"})
    start = time.perf_counter()
    variables = with_scales(qmodel.adopt(floats, x), 16.0)
    del floats
    print(f"adopt: {time.perf_counter() - start:.1f} s, peak so far {peak_mb():.0f} MB")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.onnx"
        start = time.perf_counter()
        cpu = time.process_time()
        linger_jax.export_onnx(qmodel, variables, x, path, dialect=args.dialect, strict=False)
        seconds, busy = time.perf_counter() - start, time.process_time() - cpu
        size = path.stat().st_size >> 20
        print(f"export: {seconds:.1f} s ({busy:.1f} s of processor time), peak {peak_mb():.0f} MB, file {size} MB")
        start = time.perf_counter()
        runner = linger_jax.OnnxRunner(path)
        print(f"read: {time.perf_counter() - start:.1f} s, {len(runner.graph.nodes)} nodes, peak {peak_mb():.0f} MB")


if __name__ == "__main__":
    main()

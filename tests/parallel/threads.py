"""Eight threads, each with a configuration of its own, against the same work done alone."""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import linger_jax
from tests.parallel.course import Found, Place, calibrated, course, differences
from tests.parallel.networks import NETWORKS
from tests.parallel.verdict import Case

WORK: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "in the context": ("cnn", {"platform": "venusA"}),
    "cnn of mars": ("cnn", {"platform": "mars", "quant_info": {"qat_method": "TQT", "activate_bits": 16}}),
    "cnn of venus": ("cnn", {"platform": "venus", "quant_info": {"weight_bits": 4}}),
    "cnn as linger": ("cnn", {"platform": "arcs", "compat": "reference", "quant_info": {"qat_method": "TQT"}}),
    "residual of mars": ("residual", {"platform": "mars", "clamp_info": {"clamp_activation_value": 1}}),
    "residual of arcs": ("residual", {"platform": "arcs", "quant_info": {"qat_method": "TQT", "weight_bits": 4}}),
    "lstm of arcs": ("lstm", {"platform": "arcs", "quant_info": {"qat_method": "TQT"}}),
    "attention of venusA": ("attention", {"platform": "venusA", "quant_info": {"round_mode": "floor"}}),
}
"""Name of a thread, and its network and configuration. The first calibrates by ``linger_jax.calibration``."""


def work(name: str, calibrate: Callable[[Any, Any, list[Any]], Any] = calibrated) -> Found:
    """A whole course, and what the files compute."""
    network, config = NETWORKS[WORK[name][0]], WORK[name][1]
    with tempfile.TemporaryDirectory() as folder:
        found = course(network, config, Place(), Path(folder), calibrate=calibrate)
        for dialect in ("linger", "thinker"):
            runner = linger_jax.OnnxRunner(Path(folder, f"{dialect}.onnx"))
            x = network.batch(20)
            if x.shape[1:] != tuple(runner.inputs[0].shape)[1:]:
                x = x.transpose(0, 3, 1, 2)
            found[f"file of {dialect}, run"] = list(runner.run(x))
    return found


def in_context(qmodel: Any, variables: Any, batches: list[Any], leave: Callable[[], object] = bool) -> Any:
    """Calibrates by the context, and stays in it until it may leave."""
    with linger_jax.calibration():
        _, updates = qmodel.apply(variables, batches[0])
        leave()
    return {**variables, **updates}


def compare(names: list[str]) -> list[str]:
    """What differs in which thread. The context of the first is open until all others are through."""
    first, *others = names
    alone = {first: work(first, in_context), **{name: work(name) for name in others}}
    finished = threading.Barrier(len(names))
    started = threading.Barrier(len(names))
    staying = functools.partial(in_context, leave=finished.wait)

    def others_work(name: str) -> Found:
        started.wait()
        try:
            return work(name)
        finally:
            finished.wait()

    def first_work() -> Found:
        started.wait()
        try:
            return work(first, staying)
        except BaseException:
            finished.abort()
            raise

    with ThreadPoolExecutor(len(names)) as pool:
        futures = {first: pool.submit(first_work), **{name: pool.submit(others_work, name) for name in others}}
    return [
        f"{name}: {line}"
        for name, future in futures.items()
        for line in differences(future.result(), alone[name], to_the_bit=True)
    ]


def cases() -> Iterator[Case]:
    """All threads at once: one case."""
    yield Case(", ".join(WORK), lambda: compare(list(WORK)))

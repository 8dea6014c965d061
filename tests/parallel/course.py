"""What is done with a model from its float variables to its files, on given devices, and what came out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
from tests.models import initialised
from tests.parallel.networks import Network

STEPS = 3
_RATE = 0.05
_GRADIENT_TOLERANCE = 2e-5
"""Of the largest entry: XLA adds the floats of a gradient in an order of its own (docs/training.md)."""

Found = dict[str, Any]
"""What came out, as trees of NumPy arrays by name."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where arrays lie.

    Attributes:
      spread: puts a batch there, its samples over all devices.
      everywhere: puts a tree there, whole on every device.
      in_parts: puts a tree there, of every array whose last axis allows it a part on each device.
      fetch: the whole values of a tree, as NumPy arrays.
    """

    spread: Callable[[Any], Any] = jax.device_put
    everywhere: Callable[[Any], Any] = jax.device_put
    in_parts: Callable[[Any], Any] = jax.device_put
    fetch: Callable[[Any], Any] = jax.device_get


def calibrated(qmodel: Any, variables: Any, batches: list[Any]) -> Any:
    """By the function for several batches."""
    return linger_jax.calibrate(qmodel, variables, batches, progress=False)


def course(
    network: Network,
    config: Mapping[str, Any],
    place: Place,
    folder: Path,
    lead: Found | None = None,
    calibrate: Callable[[Any, Any, list[Any]], Any] = calibrated,
) -> Found:
    """Makes, calibrates, trains, evaluates and writes a model.

    Args:
      network: the model and its data.
      config: of the quantized model.
      place: where it is done.
      folder: for the files.
      lead: what came out elsewhere. Parameters are taken from there after each step: what they are made from is not
        promised to the last bit on several devices. Statistics are this run's own from the beginning to the end.
      calibrate: how to calibrate.
    """
    qmodel = linger_jax.init(network.model, {**network.config, **config})
    found: Found = {}
    variables = place.everywhere(initialised(qmodel, network.batch(0)))
    variables = calibrate(qmodel, variables, [place.spread(network.batch(i)) for i in range(2)])
    found["calibration"] = place.fetch(variables)
    step = jax.jit(_step, static_argnums=0)
    for i in range(STEPS):
        x, labels = place.spread(network.batch(10 + i)), place.spread(network.labels(i))
        before = variables["params"]
        output, updates, slopes = step(qmodel, variables, x, labels, place.everywhere(np.uint32([0, i])))
        found[f"step {i}, output"] = place.fetch(output)
        found[f"step {i}, state"] = place.fetch(updates)
        found[f"step {i}, gradients"] = place.fetch(slopes)
        found[f"step {i}, parameters"] = _stepped(place.fetch(before), found[f"step {i}, gradients"])
        params = (found if lead is None else lead)[f"step {i}, parameters"]
        variables = {**variables, **updates, "params": place.everywhere(params)}
    x = place.spread(network.batch(20))
    found["evaluation"] = place.fetch(qmodel.apply(variables, x))
    found["evaluation under jit"] = place.fetch(jax.jit(qmodel.apply)(variables, x))
    found["evaluation in integers"] = place.fetch(qmodel.apply(variables, x, mode="integer"))
    for dialect in ("linger", "thinker"):
        path = linger_jax.export_onnx(qmodel, variables, x, folder / f"{dialect}.onnx", dialect, strict=False)
        found[f"file of {dialect}"] = np.frombuffer(path.read_bytes(), np.uint8)
    parts = place.in_parts(place.fetch(variables))
    path = linger_jax.export_onnx(qmodel, parts, x, folder / "parts.onnx", "linger")
    found["file of linger, of variables in parts"] = np.frombuffer(path.read_bytes(), np.uint8)
    return found


def _step(qmodel: Any, variables: Any, x: Any, labels: Any, key: Any) -> Any:
    """Output, updated collections and gradients of a cross-entropy."""
    state = {name: tree for name, tree in variables.items() if name != "params"}

    def loss(params: Any) -> Any:
        rngs = {"dropout": jax.random.wrap_key_data(key)}
        output, updates = qmodel.apply({"params": params, **state}, x, train=True, mutable=list(state), rngs=rngs)
        chances = jnp.take_along_axis(jax.nn.log_softmax(output), labels[:, None], axis=1)
        return -chances.mean(), (output, updates)

    slopes, (output, updates) = jax.grad(loss, has_aux=True)(variables["params"])
    return output, updates, slopes


def _stepped(params: Any, slopes: Any) -> Any:
    return jax.tree.map(lambda p, slope: p - np.float32(_RATE) * slope, params, slopes)


def differences(found: Found, wanted: Found, *, to_the_bit: bool) -> list[str]:
    """Where two courses differ beyond what is promised, a line each.

    Args:
      found, wanted: the courses.
      to_the_bit: whether gradients and parameters have to be equal to the bit, as everything else; else they are near.
    """
    if found.keys() != wanted.keys():
        return [f"one of them has {', '.join(sorted(found.keys() ^ wanted.keys()))}"]
    lines = []
    for name, tree in found.items():
        same = _near if name.endswith(("gradients", "parameters")) and not to_the_bit else _equal
        if jax.tree.structure(tree) != jax.tree.structure(wanted[name]):
            lines.append(f"{name}: another structure")
            continue
        pairs = zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(wanted[name]), strict=True)
        largest = max(
            (np.abs(leaf).max() for leaf in jax.tree.leaves(wanted[name]) if leaf.dtype.kind == "f"), default=0
        )
        for (path, one), other in pairs:
            if not same(np.asarray(one), np.asarray(other), largest):
                lines.append(f"{name}{jax.tree_util.keystr(path)}: {_worst(np.asarray(one), np.asarray(other))}")
    return lines


def _equal(one: np.ndarray, other: np.ndarray, largest: float) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _near(one: np.ndarray, other: np.ndarray, largest: float) -> bool:
    same_kind = one.dtype == other.dtype and one.shape == other.shape
    return same_kind and np.allclose(one, other, rtol=0, atol=_GRADIENT_TOLERANCE * largest)


def _worst(one: np.ndarray, other: np.ndarray) -> str:
    if one.dtype != other.dtype or one.shape != other.shape:
        return f"{one.dtype}{list(one.shape)} is not {other.dtype}{list(other.shape)}"
    differs = np.flatnonzero(np.ravel(one != other) | (np.signbit(one) != np.signbit(other)).ravel())
    at = differs[0] if len(differs) else 0
    return f"{len(differs)} of {one.size} differ, the first {np.ravel(one)[at]!r} for {np.ravel(other)[at]!r}"

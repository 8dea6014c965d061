"""How near a calibrated model is to its float model, without any training: signal to noise of the outputs, in dB.

    PYTHONPATH=. python benchmarks/calibrated_accuracy.py
    PYTHONPATH=. python benchmarks/calibrated_accuracy.py --only MobileNet --methods mse,kl --json accuracy.json

Models are those of tests/zoo and of unmodified_models.py, trained in float for some steps on small data. Columns are
configurations: the defaults, each calibration method for weights and activations with clamps off, and linger's defaults
(``top_10``, ``abs_max``, clamps). Samples of the comparison are not those of the calibration, where there are more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from unmodified_models import MODELS

import linger_jax
from linger_jax.atomic_file import write_file
from tests.zoo.data import images, tones
from tests.zoo.specimens import SPECIMENS, cross_entropy

RATE = 1e-2
DATA_SIZE, BATCH = 160, 32
METHODS = ("mse", "abs_max", "percentile", "kl", "top_10", "w_like")
LINGERS = {"quant_info": {"w_calibrate_name": "abs_max", "a_calibrate_name": "top_10"}, "clamp_info": {}}


@dataclass(frozen=True)
class Trained:
    """A float model with its variables, batches to calibrate with, and one to compare on."""

    model: nn.Module
    variables: Any
    batches: list[Any]
    samples: Any
    platform: str = "venusA"


def trained(name: str, steps: int) -> Trained:
    """A model by its name, after some steps in float."""
    if name in SPECIMENS:
        specimen = SPECIMENS[name]
        x, targets = specimen.batch()
        variables = learnt(specimen.model, x, targets, specimen.loss, steps)
        return Trained(specimen.model, variables, [x], x, specimen.platform)
    make, kind = MODELS[name]
    model, loss = make(), cross_entropy
    x, targets = tones(DATA_SIZE, 20, 8) if kind == "tones" else pictures(DATA_SIZE)
    if kind == "pictures":
        targets, loss = x, lambda output, wanted: ((output - wanted) ** 2).mean()
    variables = learnt(model, x[:-BATCH], targets[:-BATCH], loss, steps)
    return Trained(model, variables, np.split(x[:-BATCH], DATA_SIZE // BATCH - 1), x[-BATCH:])


def pictures(count: int) -> tuple[Any, Any]:
    """Digits as images, standardised as for training, with the noise that pictures of a camera have."""
    x, labels = images(count, 16)
    noise = np.random.default_rng(0).normal(0, 0.1, x.shape)
    return ((x - x.mean()) / x.std() + noise).astype(np.float32), labels


def learnt(model: nn.Module, x: Any, targets: Any, loss: Callable[..., Any], steps: int) -> Any:
    """Variables of a float model after some steps of Adam."""
    rngs = {name: jax.random.key(i, impl="rbg") for i, name in enumerate(("params", "dropout", "latent"))}
    variables = jax.jit(lambda: model.init(rngs, x, train=True))()
    optimizer = optax.adam(RATE)

    @jax.jit
    def step(variables: Any, state: Any, key: jax.Array) -> Any:
        rest = {name: value for name, value in variables.items() if name != "params"}

        def objective(params: Any) -> Any:
            keys = {"dropout": key, "latent": key}
            output, updates = model.apply({"params": params, **rest}, x, train=True, mutable=list(rest), rngs=keys)
            return loss(output, targets), updates

        slopes, updates = jax.grad(objective, has_aux=True)(variables["params"])
        changes, state = optimizer.update(slopes, state, variables["params"])
        return {"params": optax.apply_updates(variables["params"], changes), **rest, **updates}, state

    state = optimizer.init(variables["params"])
    for i in range(steps):
        variables, state = step(variables, state, jax.random.key(i, impl="rbg"))
    return variables


def signal_to_noise(case: Trained, config: Mapping[str, Any]) -> float:
    """Of the outputs after calibration, in dB, over all real outputs together."""
    qmodel = linger_jax.init(case.model, {"platform": case.platform, **config})
    variables = qmodel.adopt(case.variables, case.batches[0], train=False)
    batches = [(x,) for x in case.batches]
    variables = linger_jax.calibrate(qmodel, variables, batches, progress=False, train=False)
    wanted = jax.tree.leaves(jax.jit(lambda: case.model.apply(case.variables, case.samples, train=False))())
    found = jax.tree.leaves(qmodel.apply(variables, case.samples, train=False))
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(wanted, found, strict=True)]
    signal, noise = sum((a**2).sum() for a, _ in pairs), sum(((a - b) ** 2).sum() for a, b in pairs)
    return float(10 * np.log10(signal / max(noise, 1e-30)))


def configurations(methods: list[str], keys: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Columns of the table."""
    by_method = {name: {"quant_info": {"w_calibrate_name": name, "a_calibrate_name": name, **keys}} for name in methods}
    return {"defaults": {"quant_info": dict(keys)}, **by_method, "linger's": LINGERS}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="models whose names hold this text")
    parser.add_argument("--methods", default=",".join(METHODS), help="calibration methods, with commas between")
    parser.add_argument("--exponent", choices=("least_error", "nearest", "no_clip"), default="least_error")
    parser.add_argument("--steps", type=int, default=40, help="of the float training")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    warnings.simplefilter("ignore", linger_jax.LingerWarning)
    columns = configurations([m for m in options.methods.split(",") if m], {"calibrate_exponent": options.exponent})
    names = [name for name in (*SPECIMENS, *MODELS) if options.only.casefold() in name.casefold()]
    found: dict[str, dict[str, float]] = {}
    for name in names:
        case = trained(name, options.steps)
        found[name] = {column: signal_to_noise(case, config) for column, config in columns.items()}
        print(name, *(f"{column} {value:.1f}" for column, value in found[name].items()), sep="  ", flush=True)
    table = Table("model", *columns, title="signal to noise of the outputs after calibration, dB")
    for name, row in found.items():
        table.add_row(name, *(f"{value:.1f}" for value in row.values()))
    for what, of in (("median", statistics.median), ("least", min)):
        table.add_row(what, *(f"{of(row[column] for row in found.values()):.1f}" for column in columns), style="bold")
    Console(width=140).print(table)
    if options.json:
        write_file(options.json, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""Replays configuration cases: what a file means for each layer, and which layers a pattern leaves float."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import linger_jax
from linger_jax.config import config_to_mapping
from tests.golden.case import CONFIG_SUFFIX, Case
from tests.golden.outcome import NotSupportedError

# A layer's entry in the expected file -> where its configuration has it.
_LAYER_ENTRIES = {
    "weight_bits": lambda layer: layer.quant_info.weight_bits,
    "bias_bits": lambda layer: layer.quant_info.bias_bits,
    "input_bits": lambda layer: layer.input_bits,
    "output_bits": lambda layer: layer.output_bits,
    "clamp_activation": lambda layer: layer.clamp_info.clamp_activation_value,
    "clamp_bias": lambda layer: layer.clamp_info.clamp_bias_value,
    "clamp_factor": lambda layer: layer.clamp_info.clamp_factor_value,
    "clamp_weight": lambda layer: layer.clamp_info.clamp_weight_value,
}
# True only inside the reference's calibration context; linger_jax keeps it out of the configuration.
_NOT_CONFIGURATION = frozenset({"calibration"})


def replay(case: Case) -> list[str]:
    """Mismatches of one configuration; empty when it passes.

    Raises:
      NotSupportedError: an expected file of an unknown form.
    """
    expected: Mapping[str, Any] = case.meta["expected"]
    if "linear_layers" in expected:
        return _replay_patterns(expected)
    if "reference_config" in expected:
        return _replay_file(case, expected)
    raise NotSupportedError(f"an expected file with {', '.join(expected) or 'nothing'}")


# --- files ---------------------------------------------------------------------------------------------------------


def _replay_file(case: Case, expected: Mapping[str, Any]) -> list[str]:
    source = case.path.with_name(case.path.name.removesuffix(CONFIG_SUFFIX) + ".yaml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", linger_jax.LingerWarning)  # the reference prints where linger_jax warns
        reference = linger_jax.load_config(source, overrides={"compat": "reference"})
    wrong = _differences("reference", config_to_mapping(reference), expected["reference_config"])
    wrong += _replay_layers("reference", reference, expected.get("reference_layers") or {})
    if expected.get("wanted_layers"):
        wanted = linger_jax.load_config(source, overrides={"compat": "chip"})
        wrong += _replay_layers("wanted", wanted, expected["wanted_layers"])
    return wrong


def _replay_layers(what: str, config: linger_jax.QuantConfig, layers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    wrong = []
    for name, entries in layers.items():
        layer = config.for_path(name)
        got = {entry: read(layer) for entry, read in _LAYER_ENTRIES.items() if entry in entries}
        wrong += _differences(f"{what} {name}", got, entries)
    return wrong


def _differences(where: str, got: Mapping[str, Any], want: Mapping[str, Any]) -> list[str]:
    wrong = []
    for key, value in want.items():
        if key in _NOT_CONFIGURATION:
            continue
        if isinstance(value, Mapping):
            wrong += _differences(f"{where}.{key}", got.get(key, {}), value)
        elif key not in got:
            wrong.append(f"{where}.{key}: there is none")
        elif got[key] != value:
            wrong.append(f"{where}.{key}: {got[key]!r}, golden {value!r}")
    return wrong


# --- patterns ------------------------------------------------------------------------------------------------------


class _Tree(nn.Module):
    """Dense layers under dotted names, called in order."""

    names: tuple[str, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        heads = dict.fromkeys(name.partition(".")[0] for name in self.names)
        for head in heads:
            inner = tuple(name.partition(".")[2] for name in self.names if name.partition(".")[0] == head)
            x = nn.Dense(2, name=head)(x) if inner == ("",) else _Tree(inner, name=head)(x)
        return x


def _replay_patterns(expected: Mapping[str, Any]) -> list[str]:
    names: Sequence[str] = expected["linear_layers"]
    wrong = []
    for case in expected["cases"]:
        qmodel = linger_jax.init(_Tree(tuple(names)), disable_submodel=tuple(case["disable_submodel"]))
        x = jax.ShapeDtypeStruct((1, 2), jnp.float32)
        variables = jax.eval_shape(qmodel.model.init, jax.random.key(0), x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", linger_jax.LingerWarning)  # a pattern that matches nothing warns
            rows = qmodel.plan(variables, x, verdict=False).rows()
        found = {row.name for row in rows if row.op == "Dense"}
        left = sorted(row.name for row in rows if row.op == "Dense" and row.status != "quantized")
        where = f"disable_submodel {json.dumps(case['disable_submodel'])}"
        if found != set(names):
            wrong.append(f"{where}: the plan has the layers {sorted(found)}, the model {sorted(names)}")
        if left != sorted(case["wanted_left_float"]):
            wrong.append(f"{where}: left float {left}, wanted {sorted(case['wanted_left_float'])}")
    return wrong

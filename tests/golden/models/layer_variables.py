"""A layer's parameters and state between the names of a file and the collections of the one-layer model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from linger_jax.plan import Plan
from tests.golden.case import Case
from tests.golden.models import torch_layout as layout
from tests.golden.models.flax_layers import PaddedConv
from tests.golden.models.layer_form import LAYER, LayerForm
from tests.golden.models.pooling_layers import POOLING
from tests.golden.results import Results

Tree = dict[str, Any]

THRESHOLD = "learning_data"
FUNCTION_SITES: Mapping[str, str] = {**dict.fromkeys(POOLING, "_linger_avg_pool_0"), "GLU": "_linger_glu_0"}
"""Layers that are functions in Flax: name of the operator that the first one of a module is."""


def _sites(layer: nn.Module, op: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths of the layer's parameters and of its quantizers."""
    path = (LAYER, "conv") if isinstance(layer, PaddedConv) else (LAYER,)
    return path, ((*path, FUNCTION_SITES[op]) if op in FUNCTION_SITES else path)


def variables_of(form: LayerForm, layer: nn.Module, case: Case) -> Tree:
    """Collections of the one-layer model: parameters, quantizer state, running statistics."""
    home, state_path = _sites(layer, form.op)
    variables: Tree = {"params": {}} if form.constrained else {"params": {}, "quant": {}}
    for name, value in case.group("param").items():
        value = layout.to_kernel(form.op, value, form.groups) if name.startswith("weight") else value
        _put(variables["params"], (*home, layout.parameter_name(form.op, name)), value)
    for name, value in case.group("state0").items():
        *quantizer, entry = name.split(".")
        if entry in layout.STATISTICS:
            _put(variables.setdefault("batch_stats", {}), (*home, layout.STATISTICS[entry]), value)
        elif entry not in layout.WITHOUT_COUNTERPART:
            collection = "params" if entry == THRESHOLD else "quant"
            _put(variables[collection], (*state_path, *quantizer, entry), value)
    if isinstance(layer, nn.BatchNorm) and "batch_stats" not in variables:
        channels = np.zeros(form.shape[-1], np.float32)
        variables["batch_stats"] = {LAYER: {"mean": channels, "var": channels + np.float32(1)}}
    return variables


def _put(tree: Tree, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = jnp.asarray(value)


def by_torch_name(form: LayerForm, layer: nn.Module, variables: Mapping[str, Any]) -> tuple[Results, Results]:
    """Parameters, and state, of a variable tree under the file's names."""
    home, state_path = _sites(layer, form.op)
    parameters: Results = {}
    state: Results = {}
    names = {layout.parameter_name(form.op, name): name for name in layout.parameter_names(form.op)}
    statistics = {flax: torch for torch, flax in layout.STATISTICS.items()}
    for collection, entries in variables.items():
        for path, value in flatten_dict(entries).items():
            array = np.asarray(value)
            if collection == "batch_stats":
                state[statistics[path[-1]]] = array
            elif collection == "quant" or path[-1] == THRESHOLD:
                state[".".join(path[len(state_path) :])] = array
            else:
                name = names[path[len(home)]]
                is_weight = name.startswith("weight")
                parameters[name] = layout.from_kernel(form.op, array, form.groups) if is_weight else array
    return parameters, state


def quantizer_names(form: LayerForm, layer: nn.Module, plan: Plan) -> frozenset[str]:
    """Names of a plan's quantizers as a file has them."""
    _, state_path = _sites(layer, form.op)
    return frozenset(".".join(path[len(state_path) :]) for path in plan.quantizers)

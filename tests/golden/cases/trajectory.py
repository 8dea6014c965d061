"""Replays trajectories: calibration where there is one, then ten steps of plain SGD through the public API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

import linger_jax
from linger_jax.api.folding import fold_variables
from tests.golden import compare
from tests.golden.case import Case
from tests.golden.models import torch_layout as layout
from tests.golden.models.layer_form import configuration
from tests.golden.models.layer_variables import THRESHOLD
from tests.golden.models.trajectory import SITES, build_model, torch_op
from tests.golden.outcome import NotSupportedError
from tests.golden.tolerances import TRAJECTORY_TOLERANCE, absolute, running_statistic

Tree = dict[str, Any]
Named = Mapping[str, np.ndarray]

PLACEHOLDER = "_linger_ignore_parameter"
"""What the reference leaves in the place of a fused normalization."""
FOLDED_TOLERANCE = 3e-7
"""Folded weights of magnitude one: the reference's square root may be one unit in the last place off."""


def replay(case: Case) -> list[str]:
    """Mismatches of one trajectory; empty when it passes.

    Raises:
      NotSupportedError: a model, an optimizer or a loss that is not covered.
    """
    if case.meta.get("optimizer") != "sgd" or case.meta.get("loss") != "mean((y-t)^2)":
        raise NotSupportedError(f"optimizer {case.meta.get('optimizer')!r}, loss {case.meta.get('loss')!r}")
    params = {name: value for name, value in case.group("param").items() if not name.endswith(PLACEHOLDER)}
    model, wrong = _model(case, params)
    qmodel = linger_jax.init(model, configuration(case.meta, tuple({name.split(".")[0] for name in params})))
    if "in.calib" in case.arrays:
        variables, wrong_calibration = _calibrated(case, qmodel, params)
        wrong += wrong_calibration
    else:
        variables = _variables(params | case.group("state0"))
    step = jax.jit(lambda v, x, t: _step(qmodel, v, x, t, case.meta["lr"]))
    losses, outputs = [], []
    for x, t in zip(_inputs(case, "in.x"), case.arrays["in.t"], strict=True):
        loss, y, variables = step(variables, x, t)
        losses.append(np.asarray(loss))
        outputs.append(np.asarray(y))
    wrong += _within("out.loss", np.stack(losses), case.arrays["out.loss"])
    wrong += compare.same_bits("out.y", np.stack(outputs), case.arrays["out.y"])
    after = _by_torch_name(variables)
    for name, want in case.group("final").items():
        if name.endswith(PLACEHOLDER):
            continue
        wrong += _within(f"final.{name}", after[name], want)
    wrong += _compare_state("state", after, case.group("state"))
    y = qmodel.apply(variables, _inputs(case, "in.x_eval"))
    return wrong + compare.same_bits("out.y_eval", np.asarray(y), case.arrays["out.y_eval"])


def _model(case: Case, params: Named) -> tuple[nn.Module | linger_jax.FusedModel, list[str]]:
    """The model, traced where the file's was; and how the pairs or the folded weights differ from the file's."""
    if case.op != "convbn":
        return build_model(case.op, params), []
    named = case.group("float")
    model, x = build_model(case.op, named), _inputs(case, "in.x_eval")
    fused, variables, adapter = linger_jax.trace_layers(model, _variables(named), x)
    wrong = [] if [list(pair) for pair in adapter.pairs] == case.meta["fused"] else [f"fused: {adapter.pairs}"]
    qmodel = linger_jax.init(fused, configuration(case.meta, ()))
    folded = _by_torch_name(fold_variables(qmodel.settings, variables))
    for name, want in params.items():
        wrong += absolute(name, folded[name], want, FOLDED_TOLERANCE)
    return fused, wrong + compare.same_keys("folded", folded, params)


def _calibrated(case: Case, qmodel: linger_jax.QuantizedModel, params: Named) -> tuple[Tree, list[str]]:
    """Variables after the calibration pass, and how they differ from the file's."""
    x = _inputs(case, "in.calib")
    variables = qmodel.adopt(_variables(params), x)
    with linger_jax.calibration():
        _, updates = qmodel.apply(variables, x, train=True)
    variables = {**variables, **updates}
    after = _by_torch_name(variables)
    wrong: list[str] = []
    for name, want in case.group("param_after_calib").items():
        if name.endswith(PLACEHOLDER):
            continue
        wrong += compare.same_bits(f"param_after_calib.{name}", after[name], want)
    for name, want in case.group("state0").items():
        if name.rpartition(".")[2] not in layout.WITHOUT_COUNTERPART:
            judge = running_statistic if name.endswith(THRESHOLD) else compare.same_bits
            wrong += judge(f"state0.{name}", after[name], want)
    return variables, wrong


def _step(qmodel: linger_jax.QuantizedModel, variables: Tree, x: Any, t: Any, rate: float) -> tuple[Any, Any, Tree]:
    """One step of plain SGD; what the step overwrote itself (the clamp of the first one) counts."""
    rest = {name: entries for name, entries in variables.items() if name != "params"}

    def loss_of(params: Any) -> Any:
        y, updates = qmodel.apply({"params": params, **rest}, x, train=True, mutable=["quant", "batch_stats", "params"])
        return jnp.mean(jnp.square(y - t)), (y, updates)

    (loss, (y, updates)), gradients = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
    params = jax.tree.map(lambda p, g: p - jnp.float32(rate) * g, updates["params"], gradients)
    return loss, y, {**rest, **updates, "params": params}


def _within(name: str, got: np.ndarray, want: np.ndarray) -> list[str]:
    return absolute(name, got, want, TRAJECTORY_TOLERANCE)


def _compare_state(prefix: str, got: Named, want: Named) -> list[str]:
    """Scales and flags to the bit; thresholds and statistics follow the weights."""
    wrong = []
    for name, value in want.items():
        entry = name.rpartition(".")[2]
        if entry in layout.WITHOUT_COUNTERPART:
            continue
        exact = entry == "scale" or value.dtype == np.bool_
        wrong += (compare.same_bits if exact else _within)(f"{prefix}.{name}", got[name], value)
    return wrong


# --- names and layouts ---------------------------------------------------------------------------------------------


def _inputs(case: Case, key: str) -> np.ndarray:
    x = case.arrays[key]
    return np.moveaxis(x, -3, -1) if case.op in ("cnn", "bncnn", "convbn") else x


def _variables(named: Named) -> Tree:
    """Collections of the Flax model from PyTorch names."""
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in named.items():
        layer, *between, entry = name.split(".")
        op, state_path = torch_op(layer), SITES.get(layer, (layer,))
        if entry in layout.WITHOUT_COUNTERPART:
            continue
        if between:
            collection = "params" if entry == THRESHOLD else "quant"
            flat[(collection, *state_path, *between, entry)] = value
        elif entry in layout.STATISTICS:
            flat[("batch_stats", *state_path, layout.STATISTICS[entry])] = value
        else:
            array = layout.to_kernel(op, value) if entry == "weight" else value
            flat[("params", *state_path, layout.parameter_name(op, entry))] = array
    return jax.tree.map(jnp.asarray, unflatten_dict(flat))


def _by_torch_name(variables: Tree) -> dict[str, np.ndarray]:
    """The inverse of ``_variables``."""
    layers = {state_path: layer for layer, state_path in SITES.items()}
    statistics = {flax: torch for torch, flax in layout.STATISTICS.items()}
    named = {}
    for (collection, head, *rest), value in flatten_dict(variables).items():
        layer, entry, array = layers.get((head,), head), rest[-1], np.asarray(value)
        op = torch_op(layer)
        if collection == "batch_stats":
            named[f"{layer}.{statistics[entry]}"] = array
        elif len(rest) > 1:
            named[".".join((layer, *rest))] = array
        elif entry == "bias":
            named[f"{layer}.bias"] = array
        else:
            named[f"{layer}.weight"] = layout.from_kernel(op, array)
    return named

"""Replays files of quantized and constrained layers: a model of that one layer, through the public API."""

from __future__ import annotations

import functools
import json
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
from linger_jax.staging.layer_kinds import LAYERS as STAGED_LAYERS
from tests.golden.case import Case
from tests.golden.models import torch_layout as layout
from tests.golden.models.flax_layers import Call, OneLayer, build_layer
from tests.golden.models.layer_form import LayerForm
from tests.golden.models.layer_variables import by_torch_name, quantizer_names, variables_of
from tests.golden.outcome import NotSupportedError
from tests.golden.results import Results, compare_all

Tree = dict[str, Any]


def replay(case: Case) -> list[str]:
    """Mismatches of one file of family ``layer`` or ``constrain``; empty when it passes.

    Raises:
      NotSupportedError: a layer, an argument or a mode that is not covered.
    """
    form = LayerForm.of(case)
    return _compare_plan(form, case) + compare_all(case, run(form, case))


def _compare_plan(form: LayerForm, case: Case) -> list[str]:
    """The plan has the quantizers that the file has, no more and no fewer."""
    files = {name.rpartition(".")[0] for name in case.group("state0") if "quantizer" in name}
    planned = _planned(form)
    texts = (("lacks", files - planned), ("has unexpected", planned - files))
    return [f"the plan {verb} {', '.join(sorted(names))}" for verb, names in texts if names]


@functools.lru_cache(maxsize=16)
def _planned(form: LayerForm) -> frozenset[str]:
    layer, qmodel = _model(form)
    dtype = jnp.int32 if form.op == "Embedding" else jnp.float32
    x: Any = jax.ShapeDtypeStruct(form.shape, dtype)
    variables = jax.eval_shape(qmodel.model.init, jax.random.key(0), x)
    if form.input_bits is not None:
        x = linger_jax.QTensor(x, jax.ShapeDtypeStruct((), jnp.float32), form.input_bits)
    return quantizer_names(form, layer, qmodel.plan(variables, x, verdict=False))


def _refuse_uncovered(form: LayerForm, layer: nn.Module) -> None:
    """A layer that the planner has no rule for runs as float, which no file is about."""
    kind, _ = STAGED_LAYERS.get(type(layer), (None, None))
    if kind is None:
        return
    known = kind.unconstrained_because is None if form.constrained else kind.is_quantized
    if not known:
        raise NotSupportedError(f"{form.op} has no {'constrained' if form.constrained else 'quantized'} form yet")


@functools.lru_cache(maxsize=16)
def _model(form: LayerForm) -> tuple[nn.Module, linger_jax.QuantizedModel]:
    call = Call(
        form.shape,
        training=form.mode != "eval",
        batches=form.batches,
        calibrating=form.mode == "calibrate",
    )
    layer = build_layer(form.op, form.arguments, call)
    _refuse_uncovered(form, layer)
    convert = linger_jax.constrain if form.constrained else linger_jax.init
    return layer, convert(OneLayer(layer), json.loads(form.config))


@functools.lru_cache(maxsize=16)
def _compiled(form: LayerForm) -> Any:
    """One compiled function of arrays only: output, updated collections, gradients."""
    _, qmodel = _model(form)

    def forward(params: Any, value: Any, rest: Tree, scale: Any) -> tuple[Any, tuple[Any, Any]]:
        x = value if form.input_bits is None else linger_jax.QTensor(value, scale, form.input_bits)
        mutable = False if form.mode == "eval" else ["quant", "batch_stats", "params"]
        result = qmodel.apply_qtensor({**rest, "params": params}, x, mutable=mutable)
        y, updates = (result, {}) if mutable is False else result
        return (y.value if isinstance(y, linger_jax.QTensor) else y), (y, updates)

    def train(params: Any, value: Any, rest: Tree, scale: Any, cotangent: Any) -> Any:
        if jnp.issubdtype(value.dtype, jnp.floating):
            _, pull, aux = jax.vjp(lambda p, v: forward(p, v, rest, scale), params, value, has_aux=True)
        else:
            _, pull, aux = jax.vjp(lambda p: forward(p, value, rest, scale), params, has_aux=True)
        return *aux, pull(cotangent)

    def only_forward(params: Any, value: Any, rest: Tree, scale: Any, cotangent: Any) -> Any:
        del cotangent
        return *forward(params, value, rest, scale)[1], ()

    return jax.jit(train if form.mode == "train" else only_forward)


def run(form: LayerForm, case: Case) -> Results:
    """Runs the layer on a case's arrays; results under the file's names and in its layout."""
    layer, _ = _model(form)
    variables = variables_of(form, layer, case)
    params = variables.pop("params")
    x = case.arrays["in.x"]
    value = layout.to_channels_last(form.op, x.astype(np.int32) if x.dtype == np.int64 else x)
    scale = jnp.asarray(case.arrays.get("in.x.scale", np.float32(1)))
    cotangent = _cotangent(form, case)
    compiled = _compiled(form)
    if form.mode == "calibrate":
        with linger_jax.calibration():
            y, updates, gradients = compiled(params, value, variables, scale, cotangent)
    else:
        y, updates, gradients = compiled(params, value, variables, scale, cotangent)
    results: Results = {}
    if isinstance(y, linger_jax.QTensor):
        results["out.y.scale"], results["out.y.bits"] = np.asarray(y.scale), np.asarray(y.bits, np.int32)
        y = y.value
    results["out.y"] = layout.to_channels_first(form.op, np.asarray(y))
    parameters, state = by_torch_name(form, layer, {**variables, "params": params, **updates})
    results |= {f"state.{name}": a for name, a in state.items()}
    results |= {f"param1.{name}": a for name, a in parameters.items()}
    if gradients:
        of_parameters, of_thresholds = by_torch_name(form, layer, {"params": gradients[0]})
        results |= {f"grad.param.{name}": a for name, a in of_parameters.items()}
        results |= {f"grad.state.{name}": a for name, a in of_thresholds.items()}
    if len(gradients) > 1:
        results["grad.in.x"] = layout.to_channels_first(form.op, np.asarray(gradients[1]))
    return results


def _cotangent(form: LayerForm, case: Case) -> np.ndarray | None:
    """The file's cotangent; zero in rows of ``padding_idx``, which pass no gradient and which Flax does not know."""
    if "cot.y" not in case.arrays:
        return None
    cotangent = layout.to_channels_last(form.op, case.arrays["cot.y"])
    padding = form.arguments.get("padding_idx") if form.op == "Embedding" else None
    if padding is None:
        return cotangent
    row = padding % form.arguments["num_embeddings"]
    return np.where((case.arrays["in.x"] == row)[..., None], np.float32(0), cotangent)

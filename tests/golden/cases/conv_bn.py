"""Replays files of constrained ConvBN layers: two Flax layers, fused and constrained.

Source: docs/specification/config.md section 5.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import linger_jax
from tests.golden.case import Case
from tests.golden.models import torch_layout as layout
from tests.golden.models.conv_and_norm import by_torch_name, conv_and_norm, variables_of
from tests.golden.outcome import NotSupportedError
from tests.golden.results import Results, compare_all

OPS = ("CConvBN1d", "CConvBN2d", "CConvTransposeBN1d", "CConvTransposeBN2d")


def replay(case: Case) -> list[str]:
    """Mismatches of one file; empty when it passes.

    Raises:
      NotSupportedError: an argument or a mode that is not covered.
    """
    mode, op = case.meta["mode"], case.op.removeprefix("C")
    if mode not in ("train", "eval"):
        raise NotSupportedError(f"{case.op}: mode {mode!r}")
    ctor = dict(case.meta.get("ctor") or {})
    groups = int(ctor.get("groups", 1))
    x = layout.to_channels_last(op, case.arrays["in.x"])
    named = case.group("param") | case.group("state0")
    run = _compiled(op, _json(ctor), _json(case.meta["config"]["clamp_info"]), mode, x.shape, "conv.bias" in named)
    cotangent = case.arrays.get("cot.y")
    cotangent = None if cotangent is None else layout.to_channels_last(op, cotangent)
    y, variables, gradients = run(variables_of(op, named, groups), x, cotangent)
    results: Results = {"out.y": layout.to_channels_first(op, np.asarray(y))}
    for name, entry in (("running_mean", "mean"), ("running_var", "var")):
        results[f"state.bn.{name}"] = np.asarray(variables["batch_stats"]["norm"][entry])
    parameters = by_torch_name(op, variables["params"], groups)
    results |= {f"param1.{name}": value for name, value in parameters.items()}
    if gradients:
        of_parameters = by_torch_name(op, gradients[0], groups)
        results |= {f"grad.param.{name}": value for name, value in of_parameters.items()}
        results["grad.in.x"] = layout.to_channels_first(op, np.asarray(gradients[1]))
    return compare_all(case, results)


def _json(mapping: Mapping[str, Any]) -> str:
    return json.dumps(mapping, sort_keys=True)


@functools.lru_cache(maxsize=16)
def _compiled(op: str, ctor: str, clamp_info: str, mode: str, shape: tuple[int, ...], has_bias: bool) -> Any:
    arguments = {**json.loads(ctor), "bias": has_bias}
    model = conv_and_norm(op, arguments, shape, training=mode == "train")
    x = jax.ShapeDtypeStruct(shape, np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    fused, _, adapter = linger_jax.trace_layers(model, shapes, x)
    assert adapter.pairs == (("conv", "norm"),), f"{op} was not fused"
    cmodel = linger_jax.constrain(fused, {"compat": "reference", "clamp_info": json.loads(clamp_info)})

    def forward(params: Any, x: Any, statistics: Any) -> Any:
        variables = {"params": params, "batch_stats": statistics}
        if mode == "eval":
            return cmodel.apply(variables, x), variables
        y, updates = cmodel.apply(variables, x, mutable=["batch_stats", "params"])
        return y, {**variables, **updates}

    def run(variables: Any, x: Any, cotangent: Any) -> Any:
        params, statistics = variables["params"], variables["batch_stats"]
        if mode == "eval":
            return *forward(params, x, statistics), ()
        y, pull, after = jax.vjp(lambda p, v: forward(p, v, statistics), params, x, has_aux=True)
        return y, after, pull(cotangent)

    return jax.jit(run)

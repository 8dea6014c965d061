"""Replays files of the float SparifyFFN (docs/specification/layers.md section 11)."""

from __future__ import annotations

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.nn import SparifyFFN
from tests.golden.case import Case
from tests.golden.models.torch_arguments import Arguments
from tests.golden.outcome import NotSupportedError
from tests.golden.results import Results, compare_all

OPTIONS = ("normalize_data", "normalize_weight", "normalize_bias", "normalize_factor")


def replay(case: Case) -> list[str]:
    """Mismatches of one file; empty when it passes.

    Raises:
      NotSupportedError: a constructor argument or a mode that is not covered.
    """
    mode = case.meta["mode"]
    if mode not in ("train", "eval"):
        raise NotSupportedError(f"{case.op}: mode {mode!r}")
    run = _compiled(json.dumps(case.meta["ctor"]), case.meta.get("schedule"), case.meta.get("count_max"), mode)
    params = {name: _kernel(name, value) for name, value in case.group("param").items()}
    calls = np.int32(case.meta["step"] - 1)  # files of one sequence are numbered by the calls before them
    y, gradients = run(params, case.arrays["in.x"], calls, case.arrays.get("cot.y"))
    results: Results = {"out.y": np.asarray(y)}
    results |= {f"param1.{name}": _kernel(name, value) for name, value in params.items()}  # the module writes none
    if gradients:
        results["grad.in.x"] = np.asarray(gradients[1])
        results |= {f"grad.param.{name}": _kernel(name, np.asarray(g)) for name, g in gradients[0].items()}
    return compare_all(case, results)


def _kernel(name: str, weight: np.ndarray) -> np.ndarray:
    """Between [out, in] of the files and [in, out] of Flax; its own inverse."""
    return weight.T if name.startswith("weight") else weight


@functools.lru_cache(maxsize=16)
def _compiled(ctor: str, schedule: str | None, steps: int | None, mode: str) -> Any:
    a = Arguments("SparifyFFN", json.loads(ctor))
    options: dict[str, Any] = {name: a.take(name) for name in OPTIONS}
    options |= {} if schedule is None else {"schedule": schedule}
    options |= {} if steps is None else {"schedule_steps": steps}
    layer = SparifyFFN(a.take("in_feature"), a.take("ou_feature"), use_bias=a.take("bias", True), **options)
    a.finish()

    def forward(params: Any, x: Any, calls: Any) -> Any:
        variables = {"params": params, "sparify": {"calls": jnp.asarray(calls)}}
        return layer.apply(variables, x, train=mode == "train", mutable=["sparify"])[0]

    def run(params: Any, x: Any, calls: Any, cotangent: Any) -> Any:
        if mode == "eval":
            return forward(params, x, calls), ()
        y, pull = jax.vjp(lambda p, v: forward(p, v, calls), params, x)
        return y, pull(cotangent)

    return jax.jit(run)

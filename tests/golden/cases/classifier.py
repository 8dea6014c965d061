"""Replays step-by-step trajectories: calibration where there is one, five steps of SGD or Adam, one evaluation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

import linger_jax
from linger_jax.quantizers import THRESHOLD
from linger_jax.quantizers.quantizer_state import WEIGHT_CLAMPED
from tests.golden import compare
from tests.golden.case import Case
from tests.golden.models.classifier import CELL, REVERSE_CELL, build_classifier
from tests.golden.outcome import NotSupportedError
from tests.golden.tolerances import absolute, running_statistic

Tree = dict[str, Any]
Named = Mapping[str, np.ndarray]
Update = Callable[[Tree, Tree, Tree, Any], tuple[Tree, Tree]]

FIRST_STEP_TOLERANCE = 1e-5
"""Loss, gradients and weights of the first step, relative to the largest entry."""
LATER_TOLERANCE = 1e-3
"""Losses of later steps, relative; weights and statistics after them, of the largest entry."""
NOISE = 1e-3
"""Gradients below this part of the largest one of a model are compared with it, not with themselves."""
THRESHOLD_TOLERANCE = 2e-4
"""Gradients of thresholds: differences of nearly equal sums."""

DIRECTIONS = {"_l0_reverse": REVERSE_CELL, "_l0": CELL}
"""Behind the names of a recurrent layer's parameters in PyTorch, and behind the layer's in our cells."""
# Attributes of the reference's quantizer objects that are no state.
_ATTRIBUTES = frozenset({"data_bits", "is_qtensor", "min_scale"})
_OPTIMIZER = re.compile(r"(SGD|Adam) lr=([0-9.]+)")


def is_classifier(case: Case) -> bool:
    """Whether a trajectory is of this form."""
    return "steps" in case.meta and "in.label" in case.arrays


def replay(case: Case) -> list[str]:
    """Mismatches of one trajectory; empty when it passes.

    Raises:
      NotSupportedError: a model or an optimizer that is not covered.
    """
    params = case.group("param")
    model = build_classifier(case.meta["model"], params)
    found = _OPTIMIZER.match(case.meta["optimizer"])
    if found is None:
        raise NotSupportedError(f"optimizer {case.meta['optimizer']!r}")
    update, rate = _UPDATES[found[1]], float(found[2])
    qmodel = linger_jax.init(model, _configuration(case.meta))
    x, labels, steps = case.arrays["in.x"], case.arrays["in.label"].astype(np.int32), int(case.meta["steps"])
    variables = qmodel.adopt(_variables(params), x[1])
    # The one-time clamp of weights is made by `adopt`, in the reference by the first step (docs/decisions.md D24).
    fresh = {name: value for name, value in case.group("state0").items() if not name.endswith(WEIGHT_CLAMPED)}
    wrong = _compare_state("state0", _by_torch_name(variables), fresh, exact=True)
    if case.group("state_calibrated"):
        with linger_jax.calibration():
            _, updates = qmodel.apply(variables, x[0], mutable=["quant"])
        variables = {**variables, **updates}
        wrong += _compare_calibrated(_by_torch_name(variables), case.group("state_calibrated"))
    step = jax.jit(lambda v, o, x, label, t: _step(qmodel, update, rate, v, o, x, label, t))
    optimizer: Tree = {"one": _zeros(variables["params"]), "two": _zeros(variables["params"])}
    for t in range(1, steps + 1):
        loss, logits, gradients, variables, optimizer = step(variables, optimizer, x[t], labels[t], t)
        wrong += _compare_step(case, t, np.asarray(loss), np.asarray(logits), variables)
        if t == 1:
            wrong += _compare_gradients(_by_torch_name({"params": gradients}), case)
            moved = rate if found[1] == "Adam" else 0.0
            wrong += _compare_params("param_after.step1", _by_torch_name(variables), case, FIRST_STEP_TOLERANCE, moved)
    after = _by_torch_name(variables)
    wrong += _compare_state("state_final", after, case.group("state_final"), exact=False)
    wrong += _compare_params("param_final", after, case, LATER_TOLERANCE, steps * rate if found[1] == "Adam" else 0.0)
    y = np.asarray(qmodel.apply(variables, x[steps + 1]))
    allowed = 1.0 / float(case.arrays["out.eval_logits.scale"])
    return wrong + absolute("out.eval_logits", y, case.arrays["out.eval_logits"], allowed)


def _configuration(meta: Mapping[str, Any]) -> Tree:
    info = {"activate_bits": meta["activate_bits"], "weight_bits": meta["weight_bits"], "qat_method": meta["method"]}
    return {"compat": "reference", "platform": meta["platform"], "quant_info": info}


def _zeros(params: Tree) -> Tree:
    return jax.tree.map(jnp.zeros_like, params)


# --- one step ------------------------------------------------------------------------------------------------------


def _step(
    qmodel: linger_jax.QuantizedModel, update: Update, rate: float, variables: Tree, optimizer: Tree, *batch: Any
) -> tuple[Any, ...]:
    x, labels, t = batch

    def loss_of(params: Any) -> Any:
        logits, updates = qmodel.apply({**variables, "params": params}, x, mutable=["quant", "params"])
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -jnp.mean(chosen), (logits, updates)

    (loss, (logits, updates)), gradients = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
    direction, optimizer = update(optimizer, gradients, variables["params"], jnp.float32(t))
    params = jax.tree.map(lambda p, d: p - jnp.float32(rate) * d, updates["params"], direction)
    return loss, logits, gradients, {**variables, **updates, "params": params}, optimizer


def _momentum(optimizer: Tree, gradients: Tree, params: Tree, t: Any) -> tuple[Tree, Tree]:
    del params, t
    velocity = jax.tree.map(lambda v, g: jnp.float32(0.9) * v + g, optimizer["one"], gradients)
    return velocity, {**optimizer, "one": velocity}


def _adam(optimizer: Tree, gradients: Tree, params: Tree, t: Any) -> tuple[Tree, Tree]:
    del params
    first = jax.tree.map(lambda m, g: jnp.float32(0.9) * m + jnp.float32(0.1) * g, optimizer["one"], gradients)
    second = jax.tree.map(lambda v, g: jnp.float32(0.999) * v + jnp.float32(0.001) * g * g, optimizer["two"], gradients)

    def direction(m: Any, v: Any) -> Any:
        corrected = v / (1 - jnp.float32(0.999) ** t)
        return m / (1 - jnp.float32(0.9) ** t) / (jnp.sqrt(corrected) + jnp.float32(1e-8))

    return jax.tree.map(direction, first, second), {"one": first, "two": second}


_UPDATES: Mapping[str, Update] = {"SGD": _momentum, "Adam": _adam}


# --- comparing -----------------------------------------------------------------------------------------------------


def _compare_step(case: Case, t: int, loss: np.ndarray, logits: np.ndarray, variables: Tree) -> list[str]:
    tolerance = FIRST_STEP_TOLERANCE if t == 1 else LATER_TOLERANCE
    want = case.arrays["out.loss"][t - 1].astype(np.float32)
    wrong = absolute(f"out.loss[{t}]", loss, want, tolerance * abs(float(want)))
    state, want = case.group(f"state.step{t}"), case.arrays["out.logits"][t - 1]
    last = "head" if "head.output_quantizer.scale" in state else "fc"
    one_step = 1.0 / float(state[f"{last}.output_quantizer.scale"])
    wrong += absolute(f"out.logits[{t}]", logits, want, max(one_step, tolerance * float(np.abs(want).max())))
    return wrong + _compare_state(f"state.step{t}", _by_torch_name(variables), state, exact=t == 1)


def _compare_gradients(got: Named, case: Case) -> list[str]:
    golden = case.group("grad_step1")
    largest = {
        is_threshold: max((_largest(g) for n, g in golden.items() if n.endswith(THRESHOLD) is is_threshold), default=0)
        for is_threshold in (True, False)
    }
    wrong = []
    for name, want in golden.items():
        allowed = FIRST_STEP_TOLERANCE * max(_largest(want), NOISE * largest[False])
        if name.endswith(THRESHOLD):
            allowed = THRESHOLD_TOLERANCE * largest[True]
        wrong += absolute(f"grad_step1.{name}", got[name], want, allowed)
    return wrong


def _compare_params(prefix: str, got: Named, case: Case, tolerance: float, moved: float) -> list[str]:
    """Weights after some steps.

    Args:
      prefix: of the file's entries.
      got: ours.
      case: the file.
      tolerance: of the largest entry.
      moved: how far an optimizer that divides by the gradient's size moves a weight whose gradient is only noise, such
        as the bias of keys, which a softmax does not see.
    """
    gradients = case.group("grad_step1")
    largest = max(_largest(g) for n, g in gradients.items() if not n.endswith(THRESHOLD))
    wrong = []
    for name, want in case.group(prefix).items():
        noise = name in gradients and _largest(gradients[name]) < NOISE * largest
        wrong += absolute(f"{prefix}.{name}", got[name], want, tolerance * _largest(want) + 2 * moved * noise)
    return wrong


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0))


def _compare_state(prefix: str, got: Named, want: Named, *, exact: bool) -> list[str]:
    """Scales and flags to the bit; statistics and thresholds of the first step tightly, of later ones loosely."""
    wrong = []
    for name, value in want.items():
        entry = name.rpartition(".")[2]
        if entry in _ATTRIBUTES:
            continue
        if entry == "scale" or value.dtype == np.bool_:
            wrong += compare.same_bits(f"{prefix}.{name}", got[name], value)
        else:
            tolerance = FIRST_STEP_TOLERANCE if exact else LATER_TOLERANCE
            wrong += absolute(f"{prefix}.{name}", got[name], value, tolerance * (1 + float(np.abs(value).max())))
    return wrong


def _compare_calibrated(got: Named, want: Named) -> list[str]:
    wrong = []
    for name, value in want.items():
        entry = name.rpartition(".")[2]
        if entry not in _ATTRIBUTES:
            judge = running_statistic if entry == THRESHOLD else compare.same_bits
            wrong += judge(f"state_calibrated.{name}", got[name], value)
    return wrong


# --- names and layouts ---------------------------------------------------------------------------------------------


def _variables(params: Named) -> Tree:
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in params.items():
        layer, entry = name.split(".")
        suffix = next((suffix for suffix in DIRECTIONS if entry.endswith(suffix)), None)
        if suffix is not None:
            flat[(layer + DIRECTIONS[suffix], entry.removesuffix(suffix))] = value.T
        elif entry == "bias":
            flat[(layer, "bias")] = value
        elif value.ndim == 1:
            flat[(layer, "scale")] = value
        else:
            flat[(layer, "kernel")] = value.T
    return {"params": jax.tree.map(jnp.asarray, unflatten_dict(flat))}


def _by_torch_name(variables: Tree) -> dict[str, np.ndarray]:
    named = {}
    for (_, *path), value in flatten_dict(variables).items():
        array = np.asarray(value)
        suffix = next((suffix for suffix, cell in DIRECTIONS.items() if path[0].endswith(cell)), None)
        if suffix is not None:
            path, array = [path[0].removesuffix(DIRECTIONS[suffix]), path[-1] + suffix], array.T
        elif path[-1] == "kernel":
            path, array = [*path[:-1], "weight"], array.T
        elif len(path) > 1 and path[-1] == "scale" and path[-2] in ("ln1", "ln2"):
            path = [*path[:-1], "weight"]
        named[".".join(path)] = array
    return named

"""Replays files of family ``op``: one operator layer called directly, under ``compat: reference``.

The plan is that of a model of the one operator on quantized arguments. A file's float operands are handed to its graph
as they are: then their input quantizers run, as in the reference's operator modules.

Source: docs/specification/ops.md.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
from linger_jax.interpret import Context, Mode, interpret
from linger_jax.plan import Plan
from linger_jax.quantizers import THRESHOLD
from tests.golden import compare
from tests.golden.case import Case
from tests.golden.outcome import NotSupportedError
from tests.golden.tolerances import absolute, float_value, running_statistic

Results = dict[str, np.ndarray]

STATISTIC_TOLERANCE = 3e-7
"""Relative: ``running_data``."""
GRADIENT_TOLERANCE = 1e-5
"""Times the largest magnitude of the golden gradient."""
THRESHOLD_TOLERANCE = (4e-6, 2e-4)
"""Times the sum of the cotangents' magnitudes, and relative; the larger counts."""

_MODES = {"train": Mode.train, "eval": Mode.evaluate, "calibrate": Mode.calibrate}
# Attributes of the reference's quantizer objects that are no state.
_ATTRIBUTES = frozenset({"data_bits", "is_qtensor", "min_scale"})
_FLOAT_PRODUCTS = frozenset({"matmul", "bmm"})

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "matmul": jnp.matmul,
    "bmm": jnp.matmul,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "swish": jax.nn.silu,
}


@dataclasses.dataclass(frozen=True)
class OperatorForm:
    """What decides a compiled replay; files that agree in it share one.

    Attributes:
      op, platform, bits, method, round_mode, dim: of the description.
      mode, training: what the call does, and whether the reference's layer is in training mode.
      operands: per operand ``q`` and its bits, ``f``, or a Python number.
      shapes: of the arrays among them.
    """

    op: str
    platform: str
    bits: int
    method: str
    round_mode: str
    dim: int | None
    mode: str
    training: bool
    operands: tuple[tuple[str, float], ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, case: Case) -> OperatorForm:
        """The form of a file.

        Raises:
          NotSupportedError: an operator or a mode that is not known.
        """
        meta = case.meta
        if (meta["op"] not in _FUNCTIONS and meta["op"] not in ("cat", "softmax")) or meta["mode"] not in _MODES:
            raise NotSupportedError(f"operator {meta['op']!r} in mode {meta['mode']!r}")
        forms = {"q": lambda given: ("q", given[2]), "f": lambda _: ("f", 0), "s": lambda given: ("s", given[1])}
        operands = tuple(forms[given[0]](given) for given in meta["operands"])
        return cls(
            meta["op"],
            meta["platform"],
            int(meta["activate_bits"]),
            meta["method"],
            meta["round_mode"],
            meta["dim"],
            meta["mode"],
            bool(meta.get("training_flag", meta["mode"] == "train")),
            operands,
            tuple(case.arrays[f"in.x{i}"].shape for i, (kind, _) in enumerate(operands) if kind != "s"),
        )


class OneOperator(nn.Module):
    """One operator on the arguments; numbers among its operands are written into it."""

    form: OperatorForm

    def __call__(self, *arrays: Any) -> Any:
        rest = iter(arrays)
        operands = [number if kind == "s" else next(rest) for kind, number in self.form.operands]
        if self.form.op == "cat":
            return jnp.concatenate(operands, self.form.dim)
        if self.form.op == "softmax":
            return jax.nn.softmax(operands[0], axis=self.form.dim)
        return _FUNCTIONS[self.form.op](*operands)


def replay(case: Case) -> list[str]:
    """Mismatches of one file; empty when it passes.

    Raises:
      NotSupportedError: an operator or a mode that is not known.
    """
    form = OperatorForm.of(case)
    results = run(form, case)
    wrong = compare.same_keys("state", _quantizers(results), _quantizers(_state(case)))
    return wrong + [text for key, want in _wanted(case).items() for text in _judged(case, key, results, want)]


@functools.lru_cache(maxsize=8)
def _planned(form: OperatorForm) -> tuple[linger_jax.QuantizedModel, Plan]:
    config = {
        "compat": "reference",
        "platform": form.platform,
        "quant_info": {"activate_bits": form.bits, "qat_method": form.method, "round_mode": form.round_mode},
    }
    qmodel = linger_jax.init(OneOperator(form), config)
    scale = jax.ShapeDtypeStruct((), jnp.float32)
    widths = [int(bits) or form.bits for kind, bits in form.operands if kind != "s"]
    arguments = [
        linger_jax.QTensor(jax.ShapeDtypeStruct(shape, jnp.float32), scale, bits)  # type: ignore[arg-type]
        for shape, bits in zip(form.shapes, widths, strict=True)
    ]
    return qmodel, qmodel.plan({}, *arguments, verdict=False)


@functools.lru_cache(maxsize=8)
def _compiled(form: OperatorForm) -> Any:
    qmodel, plan = _planned(form)
    kinds = [operand for operand in form.operands if operand[0] != "s"]

    def forward(values: Any, thresholds: Any, scales: Any, state: Any) -> Any:
        entries = {path: {**state[path], **thresholds.get(path, {})} for path in state}
        ctx = Context(
            settings=qmodel.settings,
            quantizers=plan.quantizers,
            mode=_MODES[form.mode],
            state=entries,
            writes_state=form.training,
        )
        inputs = [
            linger_jax.QTensor(value, scale, int(bits)) if kind == "q" else value
            for (kind, bits), value, scale in zip(kinds, values, scales, strict=True)
        ]
        (y,) = interpret(ctx, plan.graph, inputs)
        return y.value, (y, ctx.state)

    def train(values: Any, thresholds: Any, scales: Any, state: Any, cotangent: Any) -> Any:
        _, pull, aux = jax.vjp(lambda v, t: forward(v, t, scales, state), values, thresholds, has_aux=True)
        return *aux, pull(cotangent)

    def only_forward(values: Any, thresholds: Any, scales: Any, state: Any, cotangent: Any) -> Any:
        del cotangent
        return *forward(values, thresholds, scales, state)[1], None

    return jax.jit(train if form.mode == "train" else only_forward)


def run(form: OperatorForm, case: Case) -> Results:
    """Runs the operator on a case's arrays; results under the file's names."""
    _, plan = _planned(form)
    given = _state(case)
    state: dict[Any, dict[str, Any]] = {}
    for path in plan.quantizers:
        prefix = ".".join(path[1:]) + "."
        state[path] = {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
    thresholds = {path: {THRESHOLD: entries[THRESHOLD]} for path, entries in state.items() if THRESHOLD in entries}
    arrays = [i for i, (kind, _) in enumerate(form.operands) if kind != "s"]
    values = [case.arrays[f"in.x{i}"] for i in arrays]
    operands = case.meta["operands"]
    scales = [np.float32(operands[i][1] if operands[i][0] == "q" else 1) for i in arrays]
    cotangent = case.arrays.get("cot.y")
    y, after, gradients = _compiled(form)(values, thresholds, scales, state, cotangent)
    results: Results = {
        "out.y": np.asarray(y.value),
        "out.y.scale": np.asarray(y.scale),
        "out.y.data_bits": np.asarray(y.bits, np.int64),
    }
    for path, entries in after.items():
        results |= {".".join(("state", *path[1:], name)): np.asarray(value) for name, value in entries.items()}
    if gradients is not None:
        of_values, of_thresholds = gradients
        results |= {f"grad.x{i}": np.asarray(g) for i, g in zip(arrays, of_values, strict=True)}
        for path, entries in of_thresholds.items():
            results[".".join(("grad", *path[1:], THRESHOLD))] = np.asarray(entries[THRESHOLD])
    return results


def _state(case: Case) -> Results:
    return {k: v for k, v in case.group("state0").items() if k.rpartition(".")[2] not in _ATTRIBUTES}


def _quantizers(named: Mapping[str, Any]) -> dict[str, None]:
    names = (key.removeprefix("state.").rpartition(".")[0] for key in named if not key.startswith(("out.", "grad.")))
    return dict.fromkeys(names)


def _wanted(case: Case) -> Results:
    """The file's results: its state is what was there before, overlaid with what changed; no gradient is none."""
    changed = {k: v for k, v in case.group("state").items() if k.rpartition(".")[2] not in _ATTRIBUTES}
    wanted = {f"state.{k}": v for k, v in (_state(case) | changed).items()}
    wanted |= {k: v for k, v in case.arrays.items() if k.startswith(("out.", "grad."))}
    if case.meta["mode"] == "train":
        thresholds = (k for k in _state(case) if k.endswith(THRESHOLD))
        wanted |= {f"grad.{k}": np.zeros(1, np.float32) for k in thresholds if f"grad.{k}" not in wanted}
    return wanted


def _judged(case: Case, key: str, results: Results, want: np.ndarray) -> list[str]:
    if key not in results:
        return [f"{key}: there is no such result"]
    got, entry = results[key], key.rpartition(".")[2]
    if key.startswith("grad."):
        return absolute(key, got, want, _allowed_gradient(case, entry, want))
    if key == "out.y":
        if case.meta["mode"] == "calibrate":
            return float_value(key, got, want)
        if want.dtype == np.float64:  # results of more than 24 bits: float32 holds their leading ones
            want = want.astype(np.float32)
        if case.meta["op"] in _FLOAT_PRODUCTS:
            return absolute(key, got, want, 1.0 / float(case.arrays["out.y.scale"]))
    if entry == "running_data":
        return compare.close_relative(key, got, want, STATISTIC_TOLERANCE)
    if entry == THRESHOLD and case.meta["mode"] == "calibrate":
        return running_statistic(key, got, want)
    return compare.same_bits(key, got, want)


def _allowed_gradient(case: Case, entry: str, want: np.ndarray) -> float:
    largest = float(np.abs(want).max(initial=0))
    if entry != THRESHOLD:
        return GRADIENT_TOLERANCE * largest
    of_cotangents, relative = THRESHOLD_TOLERANCE
    return max(of_cotangents * float(np.abs(case.arrays["cot.y"]).sum()), relative * largest)

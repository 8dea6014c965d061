"""Replays files of LSTM and GRU layers and of the constrained LSTM, families ``rnn`` and ``constrain``.

A file's layer is ``nn.RNN`` or ``nn.Bidirectional`` over a cell with PyTorch's parameters, run through the public API.
The tuple form of a call and a packed sequence are both sequences with lengths here.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from linger_jax.quantizers import THRESHOLD
from tests.golden import compare
from tests.golden.case import Case
from tests.golden.tolerances import absolute

CONSTRAINED_OP = "clstm"
OPS = frozenset({"lstm", "gru", CONSTRAINED_OP})

STATISTIC_TOLERANCE = 3e-7
"""Relative: ``running_data``."""
GRADIENT_TOLERANCE = 1e-5
"""Times the largest magnitude of the golden gradient."""
FLOAT_TOLERANCE = 1e-5
"""Times the largest magnitude: outputs of the constrained layer."""
THRESHOLD_TOLERANCE = (4e-6, 2e-4)
"""Times the sum of the cotangents' magnitudes, and relative; the larger counts."""

SITE = "rnn"
CELLS = ("forward", "reverse")
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# Attributes of the reference's quantizer objects that are no state.
_ATTRIBUTES = frozenset({"data_bits", "is_qtensor", "min_scale"})

Results = dict[str, np.ndarray]
Tree = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RecurrentForm:
    """What decides a compiled replay; files that agree in it share one."""

    op: str
    config: str
    hidden_size: int
    bidirectional: bool
    time_major: bool
    training: bool
    has_lengths: bool
    has_state: bool
    input_bits: int | None

    @classmethod
    def of(cls, case: Case) -> RecurrentForm:
        """The form of a file."""
        meta = case.meta
        quantized = meta.get("input_qtensor")
        return cls(
            op=meta["op"],
            config=json.dumps(_config(meta), sort_keys=True),
            hidden_size=meta["hidden_size"],
            bidirectional=meta["bidirectional"],
            time_major=not meta["batch_first"],
            training=meta["mode"] == "train",
            has_lengths=meta["lengths"] is not None,
            has_state="in.h0" in case.arrays,
            input_bits=None if quantized is None else int(quantized[1]),
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells, one a direction."""
        return CELLS if self.bidirectional else CELLS[:1]

    @property
    def states(self) -> tuple[str, ...]:
        """State arrays of a direction, in the order of Flax's carries."""
        return ("h",) if self.op == "gru" else ("c", "h")


class OneRecurrent(nn.Module):
    """The layer of a file: carries of the directions, and outputs."""

    form: RecurrentForm

    @nn.compact
    def __call__(self, x: Any, lengths: Any, carries: Any) -> Any:
        form = self.form
        cell = TorchGRUCell if form.op == "gru" else TorchLSTMCell
        rnns = [nn.RNN(cell(form.hidden_size, name=name), return_carry=True) for name in form.cells]
        options = {"time_major": form.time_major, "return_carry": True, "seq_lengths": lengths}
        if form.bidirectional:
            return nn.Bidirectional(*rnns, name=SITE)(x, initial_carry=carries, **options)
        rnn = nn.RNN(rnns[0].cell, name=SITE)
        carry, outputs = rnn(x, initial_carry=None if carries is None else carries[0], **options)
        return (carry,), outputs


def replay(case: Case) -> list[str]:
    """Mismatches of one file; empty when it passes."""
    results = run(RecurrentForm.of(case), case)
    wanted = _wanted(case)
    wrong = compare.same_keys("state", _quantizers(results), _quantizers(wanted))
    return wrong + [text for key, want in wanted.items() for text in _judged(case, key, results, want)]


def _config(meta: Mapping[str, Any]) -> dict[str, Any]:
    if meta["op"] == CONSTRAINED_OP:
        return {"compat": "reference", "clamp_info": dict(meta["clamps"])}
    info = {"activate_bits": meta["activate_bits"], "weight_bits": meta["weight_bits"], "bias_bits": meta["bias_bits"]}
    return {
        "compat": "reference",
        "platform": meta["platform"],
        "quant_info": {**info, "qat_method": meta["method"]},
        "clamp_info": {"clamp_factor_value": meta["clamp_factor_value"]},
    }


@functools.lru_cache(maxsize=8)
def _compiled(form: RecurrentForm) -> Any:
    convert = linger_jax.constrain if form.op == CONSTRAINED_OP else linger_jax.init
    qmodel = convert(OneRecurrent(form), json.loads(form.config))

    def forward(params: Any, x: Any, carries: Any, rest: Tree, scale: Any, lengths: Any) -> Any:
        x = x if form.input_bits is None else linger_jax.QTensor(x, scale, form.input_bits)
        variables = {**rest, "params": params}
        if not form.training:
            (finals, y), updates = qmodel.apply_qtensor(variables, x, lengths, carries), {}
        else:
            (finals, y), updates = qmodel.apply_qtensor(variables, x, lengths, carries, mutable=["quant", "params"])
        value = y.value if isinstance(y, linger_jax.QTensor) else y
        if form.op == CONSTRAINED_OP and lengths is not None:
            # Flax's float layer goes on behind a sequence's end.
            value = jnp.where(_inside(form, lengths, value), value, np.float32(0))
        finals = tuple(final if isinstance(final, tuple) else (final,) for final in finals)
        return (value, finals), (y, updates)

    def train(params: Any, x: Any, carries: Any, rest: Tree, scale: Any, lengths: Any, cotangents: Any) -> Any:
        differentiable = (params, x, carries)
        outputs, pull, aux = jax.vjp(lambda *a: forward(*a, rest, scale, lengths), *differentiable, has_aux=True)
        return outputs, aux, pull(cotangents)

    def evaluate(params: Any, x: Any, carries: Any, rest: Tree, scale: Any, lengths: Any, cotangents: Any) -> Any:
        del cotangents
        return *forward(params, x, carries, rest, scale, lengths), ()

    return jax.jit(train if form.training else evaluate)


def run(form: RecurrentForm, case: Case) -> Results:
    """Runs the layer on a case's arrays; results under the file's names and in its layout."""
    a = case.arrays
    packing = _Packing.of(form, case)
    lengths = None if packing.lengths is None else packing.lengths.astype(np.int32)
    params: Tree = {cell: {} for cell in form.cells}
    for cell, suffix in zip(form.cells, ("", "_reverse"), strict=False):
        for name in PARAMETERS:
            params[cell][name] = a[f"param.{name}_l0{suffix}"].T
    quant: Tree = {}
    for name, value in case.group("state0").items():
        quantizer, entry = name.split(".")
        if entry == THRESHOLD:
            params.setdefault(SITE, {})[quantizer] = {THRESHOLD: value}
        elif entry not in _ATTRIBUTES:
            quant.setdefault(quantizer, {})[entry] = value
    rest = {"quant": {SITE: quant}} if quant else {}
    carries = _directions(form, {"h": a["in.h0"], "c": a.get("in.c0")}) if form.has_state else None
    cotangents = None
    if form.training:
        states = {"h": a["cot.hn"], "c": a.get("cot.cn")}
        cotangents = (packing.unpacked(a["cot.y"]), _directions(form, states, leaves=True))
    quantized = case.meta.get("input_qtensor")
    scale = np.float32(1 if quantized is None else quantized[0])
    outputs, (y, updates), gradients = _compiled(form)(params, a["in.x"], carries, rest, scale, lengths, cotangents)
    after = {**rest, "params": params, **updates}
    results: Results = {"out.y": packing.packed(np.asarray(outputs[0]))}
    results |= {f"out.{name}n": value for name, value in _stacked(form, outputs[1]).items()}
    results |= packing.described()
    quantizers = after.get("quant", {}).get(SITE, {})
    if isinstance(y, linger_jax.QTensor):
        results["out.y.scale"], results["out.y.data_bits"] = np.asarray(y.scale), np.asarray(y.bits)
    elif packing.is_packed:  # the data of a packed sequence stays quantized there; the tuple form loses that
        results["out.y.scale"] = np.asarray(quantizers["output_quantizer"]["scale"])
        results["out.y.data_bits"] = np.asarray(case.meta["activate_bits"])
    results |= {f"state.{q}.{name}": np.asarray(e) for q, entries in quantizers.items() for name, e in entries.items()}
    results |= {f"state.{name}": e for name, e in _thresholds(after["params"]).items()}
    results |= {f"param_after.{name}": w for name, w in _parameters(form, after["params"]).items()}
    if gradients:
        d_params, d_x, d_carries = gradients
        results |= {f"grad.{name}": g for name, g in _parameters(form, d_params).items()}
        results |= {f"grad.{name}": g for name, g in _thresholds(d_params).items()}
        results["grad.x"] = np.asarray(d_x)
        if form.has_state:
            leaves = tuple(c if isinstance(c, tuple) else (c,) for c in d_carries)
            results |= {f"grad.{name}0": g for name, g in _stacked(form, leaves).items()}
    return results


def _inside(form: RecurrentForm, lengths: Any, y: Any) -> Any:
    steps = jnp.arange(y.shape[0 if form.time_major else 1], dtype=jnp.int32)
    inside = steps[:, None] < lengths[None] if form.time_major else steps[None] < lengths[:, None]
    return inside[..., None]


def _directions(form: RecurrentForm, states: Mapping[str, Any], *, leaves: bool = False) -> tuple[Any, ...]:
    """Carries of the directions from arrays [D, B, H]."""
    carries = [tuple(states[name][i] for name in form.states) for i in range(len(form.cells))]
    return tuple(carry if leaves or len(carry) > 1 else carry[0] for carry in carries)


def _stacked(form: RecurrentForm, carries: Any) -> Results:
    return {name: np.stack([carry[i] for carry in carries]) for i, name in enumerate(form.states)}


def _parameters(form: RecurrentForm, params: Tree) -> Results:
    return {
        f"{name}_l0{suffix}": np.asarray(params[cell][name]).T
        for cell, suffix in zip(form.cells, ("", "_reverse"), strict=False)
        for name in PARAMETERS
    }


def _thresholds(params: Tree) -> Results:
    return {f"{q}.{THRESHOLD}": np.asarray(entries[THRESHOLD]) for q, entries in params.get(SITE, {}).items()}


@dataclasses.dataclass(frozen=True)
class _Packing:
    """Between padded sequences and PyTorch's packed data: step by step the rows that are not over, longest first."""

    lengths: np.ndarray | None
    is_packed: bool
    time_major: bool

    @classmethod
    def of(cls, form: RecurrentForm, case: Case) -> _Packing:
        lengths = np.asarray(case.meta["lengths"], np.int64) if form.has_lengths else None
        return cls(lengths, bool(case.meta.get("packed_input")), form.time_major)

    def described(self) -> Results:
        """What the file says of the lengths."""
        if self.lengths is None:
            return {}
        if not self.is_packed:
            return {"out.lengths": self.lengths}
        return {"out.batch_sizes": np.array([(self.lengths > t).sum() for t in range(self.lengths.max())])}

    def packed(self, y: np.ndarray) -> np.ndarray:
        """Packed data of padded sequences, for a file of packed ones."""
        return self._steps(y)[self._places()] if self.is_packed else y

    def unpacked(self, data: np.ndarray) -> np.ndarray:
        """The inverse, zeros behind the ends."""
        if not self.is_packed:
            return data
        assert self.lengths is not None
        padded = np.zeros((self.lengths.max(), len(self.lengths), data.shape[-1]), data.dtype)
        padded[self._places()] = data
        return self._steps(padded)

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.lengths is not None
        order = np.argsort(-self.lengths, kind="stable")
        places = [(t, row) for t in range(self.lengths.max()) for row in order if self.lengths[row] > t]
        steps, rows = np.array(places).T
        return steps, rows

    def _steps(self, y: np.ndarray) -> np.ndarray:
        return y if self.time_major else np.swapaxes(y, 0, 1)


def _wanted(case: Case) -> Results:
    """Every result of the file, and what stays as it was."""
    named = {key: a for key, a in case.arrays.items() if key.split(".")[0] in ("out", "grad")}
    kept = {f"state.{name}": a for name, a in case.group("state0").items()}
    kept |= {f"param_after.{name}": a for name, a in case.group("param").items()}
    changed = {key: a for key, a in case.arrays.items() if key.split(".")[0] in ("state", "param_after")}
    kept |= changed
    if case.meta["mode"] == "eval":
        # The reference writes the cell's constant scale too (docs/codes.md R19); here an evaluation writes nothing.
        kept.pop("state.cell_quantizer.scale", None)
    return named | {key: a for key, a in kept.items() if key.rpartition(".")[2] not in _ATTRIBUTES}


def _quantizers(results: Results) -> dict[str, None]:
    names = (key.rpartition(".")[0] for key in results if key.startswith("state."))
    return dict.fromkeys(name for name in names if name != "state.cell_quantizer")


def _judged(case: Case, key: str, results: Results, want: np.ndarray) -> list[str]:
    if key not in results:
        return [f"{key}: there is no such result"]
    got = results[key]
    if got.dtype != want.dtype and np.issubdtype(want.dtype, np.integer):
        got = got.astype(want.dtype)
    kind, _, rest = key.partition(".")
    entry = rest.rpartition(".")[2]
    largest = float(np.abs(want).max()) if want.size else 0.0
    if kind == "grad" and entry == THRESHOLD:
        per_cotangent, relative = THRESHOLD_TOLERANCE
        cotangents = float(np.abs(case.arrays["cot.y"]).sum())
        return absolute(key, got, want, max(per_cotangent * cotangents, relative * largest))
    if kind == "grad":
        return absolute(key, got, want, GRADIENT_TOLERANCE * largest)
    if case.op == CONSTRAINED_OP and kind == "out":
        return absolute(key, got, want, FLOAT_TOLERANCE * largest)
    if entry == "running_data":
        return compare.close_relative(key, got, want, STATISTIC_TOLERANCE)
    return compare.same_bits(key, got, want)

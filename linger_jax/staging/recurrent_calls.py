"""Calls of ``nn.RNN`` and ``nn.Bidirectional`` over a cell that the chips know: one marker for the whole sequence.

A cell's parameters belong to the module that made it (``LSTMCell_0`` beside ``RNN_0`` in a compact method, ``cell``
below the RNN elsewhere), so the marker takes them from the cell, wherever it lives.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.compat.linen import in_collections, lifted_classes, written_method
from linger_jax.kinds import GRU, LSTM, LayerKind, RecurrentCell
from linger_jax.nn import TorchGRUCell, TorchLSTMCell
from linger_jax.staging.marker import LayerInfo
from linger_jax.staging.real_inputs import as_numbers
from linger_jax.typing import Path

CELLS: Mapping[type[nn.Module], LayerKind] = {
    nn.LSTMCell: LSTM,
    nn.OptimizedLSTMCell: LSTM,
    TorchLSTMCell: LSTM,
    nn.GRUCell: GRU,
    TorchGRUCell: GRU,
}
"""A cell is of a kind when its ``__call__`` is that of a class here, its own or an inherited one."""

RECURRENT_LAYERS: Mapping[type[nn.Module], str] = {nn.RNN: "RNN", nn.Bidirectional: "Bidirectional"}

LENGTHS: Path = ("lengths",)

# What nn.RNN passes on to nn.scan, where it is not what every example has.
_SCAN_DEFAULTS: Mapping[str, Any] = {"variable_axes": {}, "variable_carry": False, "split_rngs": {"params": False}}
_ACTIVATIONS = {"gate_fn": nn.sigmoid, "activation_fn": nn.tanh}
# Lifted classes that compute what the class under them computes.
_TRANSPARENT = ("Checkpoint", "Remat", "Jit")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecurrentCall:
    """One call of a recurrent layer.

    Attributes:
      module: the bound ``nn.RNN`` or ``nn.Bidirectional``.
      layer: which of the two.
      kind: of its cells' layer.
      rnns: the RNN of each direction, forward first; one of them for a single direction.
      x: the input.
      lengths: int [*batch], or None.
      initial: leaves of the carry of each direction, or None.
      settings: ``return_carry``, ``time_major``, ``reverse``, ``keep_order`` as they hold for this call.
    """

    module: nn.Module
    layer: type[nn.Module]
    kind: LayerKind
    rnns: tuple[nn.RNN, ...]
    x: Any
    lengths: Any
    initial: tuple[tuple[Any, ...], ...] | None
    settings: Mapping[str, bool]

    def pure(self) -> Callable[..., Any]:
        """``(x, lengths, initial, params of each cell) -> what the module returns``, with modules of its own."""
        clones = [_alone(rnn, cell=_alone(rnn.cell)) for rnn in self.rnns]
        if self.layer is nn.RNN:
            (clone,) = clones
        else:
            clone = _alone(self.module, forward_rnn=clones[0], backward_rnn=clones[1])

        def run(x: Any, lengths: Any, initial: Any, params: tuple[Any, ...]) -> Any:
            carries = None if initial is None else [leaves if len(leaves) > 1 else leaves[0] for leaves in initial]
            if self.layer is nn.RNN:
                tree, carry = {"cell": params[0]}, None if carries is None else carries[0]
            else:
                tree = {"forward_rnn": {"cell": params[0]}, "backward_rnn": {"cell": params[1]}}
                carry = None if carries is None else tuple(carries)
            return clone.apply(
                {"params": tree},
                x,
                initial_carry=carry,
                seq_lengths=lengths,
                method=self.layer.__call__,
                **self.settings,
            )

        return run

    @property
    def cell(self) -> RecurrentCell:
        """What is known of its cells."""
        return self.kind.recurrent_cell

    def bound_parameters(self) -> tuple[Any, ...]:
        """The ``params`` of each direction's cell."""
        return tuple(rnn.cell.variables["params"] for rnn in self.rnns)

    def modules_inside(self) -> tuple[tuple[Path, type[nn.Module]], ...]:
        """Path and class of the modules that the marker swallows."""
        inside = [m for rnn in self.rnns for m in (rnn, rnn.cell)]
        return tuple((m.path, type(m)) for m in inside if m is not self.module)

    def operand_roles(self) -> list[Path]:
        """Roles of the operands before the parameters."""
        roles: list[Path] = [("input", "0")]
        if self.lengths is not None:
            roles.append(LENGTHS)
        if self.initial is not None:
            roles += [("initial", str(d), state) for d in range(len(self.rnns)) for state in self.cell.carry]
        return roles

    def result_roles(self) -> tuple[Path, ...]:
        """Roles of the results: the final states of each direction, if they are returned, then the outputs."""
        carries: list[Path] = []
        if self.settings["return_carry"]:
            carries = [("carry", str(d), state) for d in range(len(self.rnns)) for state in self.cell.carry]
        return (*carries, ("output", "0"))


def recurrent_call(
    layer: type[nn.Module], module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> RecurrentCall | str | None:
    """Looks at a call of ``nn.RNN`` or ``nn.Bidirectional``.

    Args:
      layer: which of the two.
      module: the bound module.
      args, kwargs: of its call.

    Returns:
      The call; or why the layer is float, in words that complete "inside a ...: not covered yet"; or None for a
      ``Bidirectional`` that is no layer of its own (its two RNNs then are: merged by another function than
      concatenation, of different kinds or sizes, or one module for both directions).
    """
    given = inspect.signature(layer.__call__).bind(module, *args, **kwargs).arguments
    rnns = (module,) if layer is nn.RNN else (module.forward_rnn, module.backward_rnn)
    if layer is nn.Bidirectional and not _is_one_layer(module):
        return None
    initial = given.get("initial_carry")
    carries = (initial,) if layer is nn.RNN or initial is None else tuple(initial)
    carries = carries if len(carries) == len(rnns) else (None,) * len(rnns)
    reasons = [_unsupported(rnn, carry is None) for rnn, carry in zip(rnns, carries, strict=True)]
    kind = _kind(rnns[0].cell)
    reason = next((r for r in reasons if r is not None), None)
    x = as_numbers(given["inputs"])
    if reason is None and not isinstance(x, (jax.Array, np.ndarray)):
        reason = "recurrent layer whose input is not one array"
    if reason is not None:
        return reason if layer is nn.RNN else None
    assert kind is not None
    assert kind.cell is not None
    bidirectional = layer is nn.Bidirectional
    settings = {
        name: _setting(module, given, name)
        for name in (("return_carry", "time_major") if bidirectional else ("return_carry", "time_major", "reverse"))
    }
    # Bidirectional looks at neither: its backward RNN runs in reverse and keeps the order.
    settings |= {} if bidirectional else {"keep_order": _setting(module, given, "keep_order")}
    lengths = given.get("seq_lengths")
    time = 0 if settings["time_major"] else x.ndim - 2
    step_shape = (*x.shape[:time], *x.shape[time + 1 :])
    initial = None
    if any(carry is not None for carry in carries):
        initial = tuple(_leaves(kind.cell, rnn, carry, step_shape) for rnn, carry in zip(rnns, carries, strict=True))
    return RecurrentCall(
        module=module,
        layer=layer,
        kind=kind,
        rnns=rnns,
        x=x,
        lengths=None if lengths is None else jnp.asarray(lengths),
        initial=initial,
        settings=settings,
    )


def recurrent_info(call: RecurrentCall, parameters: list[Path], visit: int, refusal: str | None) -> LayerInfo:
    """Description of the marker.

    Args:
      call: the call.
      parameters: role of each parameter: ``("params", "0", "ii", "kernel")`` for the forward direction's, ``"1"`` for
        the reverse direction's.
      visit: number of the module call.
      refusal: why it cannot be quantized whatever the configuration says.
    """
    settings = call.settings
    return LayerInfo(
        kind=call.kind,
        type_name=type(call.module).__name__,
        module_type=type(call.module),
        path=call.module.path,
        attributes={
            "directions": len(call.rnns),
            "features": call.rnns[0].cell.features,
            "time_major": settings["time_major"],
            "reverse": settings.get("reverse", False),
            "keep_order": settings.get("keep_order", False),
        },
        operands=(*call.operand_roles(), *parameters),
        results=call.result_roles(),
        visit=visit,
        refusal=refusal,
        inside=call.modules_inside(),
    )


def _is_one_layer(module: nn.Bidirectional) -> bool:
    rnns: tuple[Any, Any] = (module.forward_rnn, module.backward_rnn)
    forward, backward = rnns
    if module.merge_fn is not nn.Bidirectional.merge_fn:
        return False
    if not all(isinstance(rnn, nn.RNN) and type(rnn).__call__ is nn.RNN.__call__ for rnn in rnns):
        return False
    kinds = [_kind(rnn.cell) for rnn in rnns]
    if kinds[0] is None or kinds[0] != kinds[1] or forward.cell.path == backward.cell.path:
        return False
    same_form = _holds_matrices(forward.cell) == _holds_matrices(backward.cell)
    return same_form and forward.cell.features == backward.cell.features


def _holds_matrices(cell: nn.Module) -> bool:
    return isinstance(cell, (TorchLSTMCell, TorchGRUCell))


def _kind(cell: Any) -> LayerKind | None:
    function = written_method(type(cell).__call__)
    return next((kind for base, kind in CELLS.items() if written_method(base.__call__) is function), None)


def _unsupported(rnn: nn.RNN, starts_itself: bool) -> str | None:
    cell = rnn.cell
    name = type(cell).__name__
    if _kind(cell) is None or not _is_transparent(type(cell)):
        return f"recurrent layer over {name}"
    for option, usual in _ACTIVATIONS.items():
        if getattr(cell, option, usual) is not usual:
            return f"recurrent layer with a {option} of its own"
    for option in ("dtype", "param_dtype"):
        if getattr(cell, option, None) not in (None, jnp.float32, np.dtype(np.float32)):
            return f"recurrent layer with {option} {np.dtype(getattr(cell, option)).name}"
    if starts_itself and not _starts_at_zero(cell):
        return "recurrent layer whose cell starts from a carry of its own (pass initial_carry instead)"
    for option, default in _SCAN_DEFAULTS.items():
        if getattr(rnn, option) != default:
            return f"recurrent layer with {option}"
    if not in_collections(rnn.variable_broadcast, "params"):
        return "recurrent layer with variable_broadcast"
    if type(cell).param is not nn.Module.param:
        return f"recurrent layer over {name}, which computes its parameters"
    if {c for c, v in cell.variables.items() if jax.tree.leaves(v)} != {"params"}:
        return f"recurrent layer over {name} with more than parameters"
    return None


def _is_transparent(cell: type[nn.Module]) -> bool:
    """Whether the lifted transformations around the cell's class (``nn.remat``) leave its computation alone."""
    return all(name.startswith(_TRANSPARENT) for name in lifted_classes(cell))


def _starts_at_zero(cell: Any) -> bool:
    base: Any = next(b for b in CELLS if isinstance(cell, b))
    own = written_method(type(cell).initialize_carry) is not written_method(base.initialize_carry)
    return not own and getattr(cell, "carry_init", nn.initializers.zeros) is nn.initializers.zeros


def _leaves(cell: RecurrentCell, rnn: nn.RNN, carry: Any, step_shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Leaves of a carry; of a fresh one for a direction that is given none beside one that is."""
    carry = rnn.cell.initialize_carry(jax.random.key(0), step_shape) if carry is None else carry
    return tuple(map(as_numbers, (carry,) if len(cell.carry) == 1 else carry))


def _setting(module: Any, given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    return bool(getattr(module, name) if value is None else value)


def _alone(module: Any, **attributes: Any) -> Any:
    return module.clone(parent=None, name=None, **attributes)

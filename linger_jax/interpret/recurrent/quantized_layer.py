"""A quantized LSTM or GRU layer: the order of events of docs/specification/recurrent.md section 2."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from linger_jax.config import GruForm, QatMethod
from linger_jax.errors import LingerError
from linger_jax.interpret.apply_quantizer import (
    BiasBeside,
    accept,
    quantize_bias,
    quantize_weight,
    run_quantizer,
    straight_through,
)
from linger_jax.interpret.context import Array, Context, Value
from linger_jax.interpret.recurrent.arguments import Initial, InitialState, active_rows, checked
from linger_jax.interpret.recurrent.cell_weights import DirectionWeights
from linger_jax.interpret.recurrent.chip_cell import chip_cell
from linger_jax.interpret.recurrent.direction import Direction, run_direction
from linger_jax.interpret.recurrent.float_layer import float_direction
from linger_jax.interpret.recurrent.hidden_rule import HiddenRule
from linger_jax.interpret.recurrent.hidden_scale import hidden_scales
from linger_jax.kinds import CellKind
from linger_jax.numerics.products import bias_steps
from linger_jax.numerics.recurrent import (
    CELL_SCALE,
    SPARE_BITS,
    LoopVariant,
    Operands,
    Scales,
    of_new_state_alone,
)
from linger_jax.plan.decide import quantizer_name
from linger_jax.quantizers import IS_INIT, RUNNING_DATA, SCALE, QTensor
from linger_jax.targets import device_of
from linger_jax.typing import Path

# The largest float32 number whose steps are an integer of 32 bits.
_LARGEST_CELL = np.nextafter(np.float32(2.0**31), np.float32(0)) / np.float32(CELL_SCALE)


def recurrent_layer(
    ctx: Context,
    state_path: Path,
    kind: CellKind,
    x: Value,
    directions: Sequence[DirectionWeights],
    initial: Initial | None = None,
    lengths: Array | None = None,
    gru_form: GruForm = GruForm.linger,
) -> tuple[Value, tuple[InitialState, ...]]:
    """One layer in the context's mode.

    Args:
      ctx: the interpretation; the state of the layer's quantizers lives at ``(*site, quantizer)``.
      state_path: path of the layer.
      kind: ``lstm`` or ``gru``.
      x: [T, B, I], time first.
      directions: weights of the forward and, where there is one, of the reverse direction.
      initial: the initial state of each direction, float32: the hidden state [B, H], for an LSTM a pair of it and the
        cell [B, H]. None: zero.
      lengths: int32 [B], steps of each row; what lies behind them counts nowhere. None: all steps.
      gru_form: whose cell a GRU has.

    Returns:
      Hidden states [T, B, D*H], forward first, zero behind a row's end: a QTensor, under ``reference`` with lengths a
      float array (docs/codes.md R12).
      Final state of each direction: hidden state, and the cell of an LSTM; float arrays.

    Raises:
      LingerError: no steps, no rows, or shapes that do not fit each other.
      PlatformLimitError: the platform has no kernels.
    """
    states = checked(kind, state_path, x, directions, initial, lengths)
    active = None if lengths is None else active_rows(x.shape[0], lengths)
    if active is not None and not isinstance(x, QTensor):
        x = jnp.where(active[..., None], x, np.float32(0))
    layer = _Layer(ctx, state_path, kind, len(directions), gru_form)
    x = accept(ctx, layer.path("input"), x)
    if ctx.in_integers and not ctx.semantics.hidden_quantizer_is_output:
        raise LingerError(
            f"{'.'.join(state_path)}: under compat: reference the output of an LSTM or GRU declares another scale than "
            "its values lie on, so it has no integers (mode='integer'). Use compat: chip, or evaluate in float32"
        )
    if ctx.in_float:
        outputs, finals = layer.float_pass(x, directions, states, active)
    else:
        outputs, finals = layer.integer_pass(x, directions, states, active, given=initial is not None)
    if lengths is not None and ctx.semantics.padded_output_is_float:
        return outputs.value, finals
    return outputs, finals


@dataclasses.dataclass(frozen=True)
class _Layer:
    ctx: Context
    state_path: Path
    kind: CellKind
    directions: int
    gru_form: GruForm

    def path(self, acts_on: str, direction: int = 0) -> Path:
        """State path of one of the layer's quantizers."""
        return (*self.state_path, quantizer_name(acts_on, direction))

    def paths(self, acts_on: str) -> list[Path]:
        """State paths of the quantizers that exist once a direction."""
        return [self.path(acts_on, direction) for direction in range(self.directions)]

    def integer_pass(
        self,
        x: QTensor,
        directions: Sequence[DirectionWeights],
        states: Sequence[InitialState],
        active: Array | None,
        *,
        given: bool,
    ) -> tuple[QTensor, tuple[InitialState, ...]]:
        """Training and evaluation."""
        ctx = self.ctx
        scales = hidden_scales(ctx, self.paths("hidden"), x.scale, states if given else None)
        if self.kind == "lstm":
            ctx.state[self.path("cell")] = {**ctx.state[self.path("cell")], SCALE: jnp.float32(CELL_SCALE)}
        results = [self._direction(i, x, directions[i], states[i], scales[i], active) for i in range(self.directions)]
        outputs = [outputs for outputs, _ in results]
        output = ctx.quantizers[self.path("output")].spec
        scale = scales[0] if ctx.semantics.hidden_quantizer_is_output else ctx.state[self.path("output")][SCALE]
        joined = outputs[0] if self.directions == 1 else jnp.concatenate(outputs, axis=-1)
        return QTensor(joined, scale, output.bits), tuple(final for _, final in results)

    def float_pass(
        self,
        x: QTensor,
        directions: Sequence[DirectionWeights],
        states: Sequence[InitialState],
        active: Array | None,
    ) -> tuple[QTensor, tuple[InitialState, ...]]:
        """Quantizers that pass values, as in calibration: the float layer with clamped weights.

        Source: docs/specification/recurrent.md section 7.
        """
        ctx, hidden, finals, quantized = self.ctx, [], [], []
        for i, weights in enumerate(directions):
            clamped, _ = self._weights(i, weights, x.scale, ctx.state[self.path("hidden", i)][SCALE])
            outputs, final = float_direction(self.kind, x.value, clamped, states[i], active, reverse=i == 1)
            hidden.append(outputs)
            finals.append(final)
            quantized.append(clamped)
        joined = hidden[0] if self.directions == 1 else jnp.concatenate(hidden, axis=-1)
        recorded = self._recorded(hidden, finals, joined)
        hidden_scales = [
            run_quantizer(ctx, path, seen).scale for path, (seen, _) in zip(self.paths("hidden"), recorded, strict=True)
        ]
        output_scales = [
            run_quantizer(ctx, path, seen).scale for path, (_, seen) in zip(self.paths("output"), recorded, strict=True)
        ]
        fixed = ctx.quantizers[self.path("hidden")].fixed_scale
        if fixed is not None:
            hidden_scales = output_scales = [jnp.float32(fixed)] * self.directions
            for path in (*self.paths("hidden"), *self.paths("output")):
                ctx.state[path] = {**ctx.state[path], SCALE: jnp.float32(fixed)}
        elif ctx.semantics.hidden_quantizer_is_output:
            least = jnp.minimum(*hidden_scales) if self.directions == 2 else hidden_scales[0]
            hidden_scales = output_scales = [least] * self.directions
        for i, weights in enumerate(quantized):
            if weights.bias_hh is not None:  # its scale follows from that of the hidden state, known only now
                self._matrix_and_bias(i, "hh", weights.weight_hh, weights.bias_hh, hidden_scales[i])
        output = QTensor(joined, output_scales[0], ctx.quantizers[self.path("output")].spec.bits)
        return output, tuple(finals)

    def _recorded(self, hidden: list[Array], finals: list[InitialState], joined: Array) -> list[tuple[Array, Array]]:
        """What the hidden and the output quantizer of each direction see in calibration (docs/codes.md R10)."""
        if self.ctx.semantics.hidden_quantizer_is_output:
            return [(own, own) for own in hidden]
        if self.directions == 2 and self.ctx.semantics.calibration_mixes_directions:
            return [(jnp.stack([final[0] for final in finals]), joined), (finals[0][0], joined)]
        return [(final[0], own) for final, own in zip(finals, hidden, strict=True)]

    def _direction(
        self,
        direction: int,
        x: QTensor,
        weights: DirectionWeights,
        state: InitialState,
        hidden_scale: Array,
        active: Array | None,
    ) -> tuple[Array, InitialState]:
        """Hidden states [T, B, H] and final state of one direction; moves its quantizers."""
        ctx, hidden_path = self.ctx, self.path("hidden", direction)
        quantized, (scale_ih, scale_hh) = self._weights(direction, weights, x.scale, hidden_scale)
        spec = ctx.quantizers[hidden_path].spec
        if ctx.semantics.kernel_inputs_saturate:
            # Of operators the state is an operand like any other.
            spare = 0 if self.gru_form is GruForm.primitives else SPARE_BITS
            state = _within_range(state, hidden_scale, spec.bits + spare)
        if not ctx.training:
            rule = HiddenRule.never
        elif ctx.semantics.hidden_quantizer_is_output:
            rule = HiddenRule.saturation
        else:
            rule = HiddenRule.every_step
        loop = LoopVariant(
            cell=chip_cell(self.kind, ctx.settings.config.platform, ctx.semantics, self.gru_form),
            input_bits=x.bits,
            weight_bits=ctx.quantizers[self.path("weight_ih", direction)].spec.bits,
            hidden_bits=spec.bits,
            reverse=direction == 1,
            saturates_bias=ctx.in_integers,
        )
        operands = Operands(
            x=x.value,
            weight_ih=quantized.weight_ih,
            weight_hh=quantized.weight_hh,
            bias_ih=quantized.bias_ih,
            bias_hh=quantized.bias_hh,
            initial=state,
        )
        scales = Scales(input=x.scale, weight_ih=scale_ih, weight_hh=scale_hh, hidden=hidden_scale)
        outputs, final, moved = run_direction(
            Direction(loop, spec, rule), operands, scales, active, ctx.state[hidden_path]
        )
        ctx.state[hidden_path] = {**moved, SCALE: hidden_scale}
        return self._move_output(direction, outputs), final

    def _move_output(self, direction: int, outputs: Array) -> Array:
        """The output quantizer of a direction: the same values; in training its share of the gradient."""
        ctx, path = self.ctx, self.path("output", direction)
        hidden = ctx.state[self.path("hidden", direction)]
        by_statistic = ctx.quantizers[path].spec.qat_method is QatMethod.MOM
        if ctx.semantics.hidden_quantizer_is_output:
            copied = (SCALE, RUNNING_DATA, IS_INIT) if by_statistic else (SCALE,)
            ctx.state[path] = {**ctx.state[path], **{name: hidden[name] for name in copied}}
            return outputs
        if not ctx.training:
            return outputs
        if by_statistic:
            ctx.state[path] = {**ctx.state[path], RUNNING_DATA: hidden[RUNNING_DATA]}
        return straight_through(outputs, run_quantizer(ctx, path, outputs).value)

    def _weights(
        self, direction: int, weights: DirectionWeights, input_scale: Array, hidden_scale: Array
    ) -> tuple[DirectionWeights, tuple[Array, Array]]:
        """The quantized parameters of a direction (in calibration the clamped ones) and the scales of the matrices."""
        weights = self._read(weights)
        ih, bias_ih = self._matrix_and_bias(direction, "ih", weights.weight_ih, weights.bias_ih, input_scale)
        hh, bias_hh = self._matrix_and_bias(direction, "hh", weights.weight_hh, weights.bias_hh, hidden_scale)
        return DirectionWeights(ih.value, hh.value, bias_ih, bias_hh), (ih.scale, hh.scale)

    def _read(self, weights: DirectionWeights) -> DirectionWeights:
        """The weights as far as the chip reads them (docs/specification/executor.md section 5)."""
        if self.gru_form is not GruForm.executor:
            return weights
        if device_of(self.ctx.settings.config.platform).executor.gru_gates_read_state:
            return weights
        bias = weights.bias_hh
        return dataclasses.replace(
            weights,
            weight_hh=of_new_state_alone(weights.weight_hh, 1),
            bias_hh=None if bias is None else of_new_state_alone(bias, 0),
        )

    def _matrix_and_bias(
        self, direction: int, of: str, matrix: Array, bias: Array | None, unit: Array
    ) -> tuple[QTensor, Array | None]:
        ctx, path = self.ctx, self.path(f"bias_{of}", direction)
        weight = quantize_weight(ctx, self.path(f"weight_{of}", direction), matrix, BiasBeside(path, bias, unit))
        if bias is None:
            return weight, None
        product = weight.scale * unit
        quantized = quantize_bias(ctx, path, bias, product)
        if not ctx.in_integers:
            return weight, quantized.value
        steps = bias_steps(quantized.value, product, quantized.bits)
        return weight, straight_through(steps.astype(jnp.float32) / product, quantized.value)


def _within_range(state: InitialState, hidden_scale: Array, room: int) -> InitialState:
    """An initial state cut to what the products of a hidden state have room for, and to a cell's integers.

    Source: docs/codes.md R14, docs/decisions.md D35.
    """
    hidden, *cells = state
    least, most = -(2.0 ** (room - 1)), 2.0 ** (room - 1) - 1
    hidden = jnp.clip(hidden, jnp.float32(least) / hidden_scale, jnp.float32(most) / hidden_scale)
    return (hidden, *(jnp.clip(cell, -_LARGEST_CELL, _LARGEST_CELL) for cell in cells))

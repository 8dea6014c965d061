"""The quantizers of an LSTM or GRU layer: their names, what each acts on, and their specifications.

The input and the cell quantizer are shared by the directions, every other exists once a direction, with ``_reverse`` in
its name in the second (docs/specification/recurrent.md section 1).
"""

from __future__ import annotations

import dataclasses

from linger_jax.config import ActivationType, LayerConfig
from linger_jax.kinds import BIAS, INPUT, KERNEL, CellKind
from linger_jax.plan.decide.quantizer_specs import layer_spec
from linger_jax.plan.settings import PlanSettings
from linger_jax.quantizers import QuantizerSpec

_CELL = "cell_quantizer"
CELL_BITS = 32


@dataclasses.dataclass(frozen=True)
class RecurrentRole:
    """One quantizer of a recurrent layer.

    Attributes:
      quantizer: its name in state.
      acts_on: ``input``, ``hidden``, ``output``, ``cell``, or the weight it quantizes: ``weight_ih``, ``weight_hh``,
        ``bias_ih``, ``bias_hh``.
      direction: 0 forward, 1 reverse; 0 for the shared ones.
    """

    quantizer: str
    acts_on: str
    direction: int = 0


def quantizer_name(acts_on: str, direction: int = 0) -> str:
    """State name of a quantizer: ``weight_ih``, 1 -> ``weightih_reverse_quantizer``."""
    reverse = "_reverse" if direction else ""
    return f"{acts_on.replace('_', '')}{reverse}_quantizer"


def recurrent_roles(kind: CellKind, *, directions: int) -> tuple[RecurrentRole, ...]:
    """Every quantizer of a layer, in the reference's order.

    Args:
      kind: ``lstm`` or ``gru``.
      directions: 1 or 2.
    """
    roles = [RecurrentRole(INPUT.quantizer, "input")]
    for direction in range(directions):
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "hidden", "output"]
        roles += [RecurrentRole(quantizer_name(name, direction), name, direction) for name in names]
    if kind == "lstm":
        roles.append(RecurrentRole(_CELL, "cell"))
    return tuple(roles)


def recurrent_spec(settings: PlanSettings, module: LayerConfig, role: RecurrentRole) -> QuantizerSpec:
    """Specification of one quantizer of a recurrent layer.

    Under ``chip`` one quantizer serves hidden state and output (docs/decisions.md D3), so that both have the width of
    the output.
    """
    match role.acts_on:
        case "input":
            return layer_spec(settings, module, INPUT)
        case "hidden" | "output":
            shared = role.acts_on == "output" or settings.semantics.hidden_quantizer_is_output
            bits = module.output_bits if shared else module.quant_info.activate_bits
            spec = layer_spec(settings, module, INPUT)
            return dataclasses.replace(spec, bits=bits, activation_type=ActivationType.none)
        case "cell":
            return dataclasses.replace(layer_spec(settings, module, BIAS), bits=CELL_BITS, clamp_value=None)
        case "weight_ih" | "weight_hh":
            return layer_spec(settings, module, KERNEL)
        case _:
            return layer_spec(settings, module, BIAS)

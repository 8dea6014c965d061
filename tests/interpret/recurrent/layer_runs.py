"""Runs of one recurrent layer in a context made by hand."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
from linger_jax.interpret import Context, Mode
from linger_jax.interpret.recurrent import DirectionWeights, recurrent_layer
from linger_jax.kinds import GATES
from linger_jax.plan.decide.recurrent_quantizers import recurrent_roles, recurrent_spec
from linger_jax.plan.graph import Quantizer
from linger_jax.plan.settings import PlanSettings
from linger_jax.quantizers import QTensor, initial_state

NEAREST = {"a_calibrate_name": "top_10", "calibrate_exponent": "nearest"}
"""So that the statistic of a calibration is what its method found."""
STEPS, ROWS, INPUTS, UNITS = 6, 4, 3, 5


@dataclasses.dataclass(frozen=True)
class Layer:
    """What decides a compiled run."""

    kind: str = "lstm"
    platform: str = "venusA"
    compat: str = "chip"
    method: str = "MOM"
    directions: int = 1
    bits: int = 8

    @property
    def settings(self) -> PlanSettings:
        info = {"qat_method": self.method, "activate_bits": self.bits, "weight_bits": self.bits, **NEAREST}
        config = {"platform": self.platform, "compat": self.compat, "quant_info": info}
        return PlanSettings(config=linger_jax.load_config(config))

    @property
    def quantizers(self) -> dict[Any, Quantizer]:
        settings = self.settings
        roles = recurrent_roles(self.kind, directions=self.directions)
        module = settings.config.for_path("rnn")
        return {
            ("rnn", role.quantizer): Quantizer(
                path=("rnn", role.quantizer), spec=recurrent_spec(settings, module, role)
            )
            for role in roles
        }

    def fresh(self) -> dict[Any, Any]:
        """State of every quantizer before anything ran."""
        return {path: initial_state(quantizer.spec) for path, quantizer in self.quantizers.items()}


def weights(kind: str, seed: int = 0, *, spread: float = 0.4, inputs: int = INPUTS) -> DirectionWeights:
    """Weights and biases within +-spread."""
    columns = GATES[kind] * UNITS
    shapes = ((inputs, columns), (UNITS, columns), (columns,), (columns,))
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return DirectionWeights(*(_uniform(k, s, spread) for k, s in zip(keys, shapes, strict=True)))


def _uniform(key: Any, shape: tuple[int, ...], spread: float) -> Any:
    """Those of ``jax.random.uniform``, compiled for one length."""
    values = jax.random.uniform(key, (1024,), jnp.float32, -spread, spread)
    return jnp.asarray(np.asarray(values)[: math.prod(shape)].reshape(shape))


def directions(layer: Layer, **options: Any) -> list[DirectionWeights]:
    return [weights(layer.kind, seed, **options) for seed in range(layer.directions)]


X = _uniform(jax.random.key(9), (STEPS, ROWS, INPUTS), 1.0)


@functools.lru_cache(maxsize=64)
def compiled(layer: Layer, mode: Mode) -> Any:
    def run(x: Any, given: Any, state: Any, initial: Any, lengths: Any) -> Any:
        ctx = Context(settings=layer.settings, quantizers=layer.quantizers, mode=mode, state=dict(state))
        outputs, finals = recurrent_layer(ctx, ("rnn",), layer.kind, x, given, initial, lengths)
        return outputs, finals, ctx.state

    return jax.jit(run)


def run(
    layer: Layer,
    x: Any = X,
    given: Any = None,
    state: Any = None,
    initial: Any = None,
    lengths: Any = None,
    **options: Any,
) -> tuple[Any, Any, Any]:
    """Outputs, final states, and quantizer entries by name."""
    mode = options.pop("mode", Mode.train)
    state = layer.fresh() if state is None else {("rnn", name): entries for name, entries in state.items()}
    given = directions(layer) if given is None else given
    outputs, finals, state = compiled(layer, mode)(x, given, state, initial, lengths)
    return outputs, finals, {path[-1]: entries for path, entries in state.items()}


def loss(layer: Layer, arguments: Any, state: Any = None, initial: Any = None, lengths: Any = None) -> Any:
    """A loss of (x, weights): outputs weighted differently each."""
    x, given = arguments
    outputs, _, _ = run(layer, x, given, state, initial, lengths)
    y = outputs.value if isinstance(outputs, QTensor) else outputs
    return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))


def on_grid(values: Any, scale: Any) -> bool:
    steps = np.asarray(values, np.float64) * float(scale)
    return bool(np.all(steps == np.round(steps)))

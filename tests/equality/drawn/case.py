"""One drawn model with its configuration and numbers: plain data, and the program that makes it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"\b[av]\d+\b")


@dataclasses.dataclass(frozen=True)
class Input:
    """An argument of the model.

    Attributes:
      name: of the argument.
      shape: without the batch.
      tokens: of whole numbers, how many there are; 0 for floats.
    """

    name: str
    shape: tuple[int, ...]
    tokens: int = 0


@dataclasses.dataclass(frozen=True)
class Line:
    """``target = text``: a step of the model.

    Attributes:
      target: the new value's name.
      text: a Python expression of earlier names.
      kind: the name of the record that it was drawn for.
    """

    target: str
    text: str
    kind: str

    @property
    def operands(self) -> tuple[str, ...]:
        """The names that it reads."""
        return tuple(dict.fromkeys(_NAME.findall(self.text)))


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What the arrays hold, and what happens to them before the model is evaluated.

    Attributes:
      seed: of every array.
      weights, biases, statistics: magnitude of parameters of two axes and more, of others, of running statistics.
      inputs: magnitude of the inputs.
      sort: ``normal``, ``constant`` or ``one-hot`` inputs.
      growth: inputs of the evaluation are as many times larger than those of calibration.
      calibrated: whether scales are calibrated; otherwise they are drawn, or training finds them.
      drawn: whether scales are drawn.
      steps: of training.
      optimizer: of training: ``sgd`` or ``adam``.
    """

    seed: int
    weights: float = 1.0
    biases: float = 1.0
    statistics: float = 1.0
    inputs: float = 1.0
    sort: str = "normal"
    growth: float = 1.0
    calibrated: bool = True
    drawn: bool = False
    steps: int = 0
    optimizer: str = "sgd"


@dataclasses.dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
      inputs: its arguments.
      lines: its steps, in order.
      outputs: names that it returns.
      config: of ``linger_jax.init``, as JSON.
      numbers: of its arrays.
      batch: samples.
      fused: whether ``trace_layers`` goes over it.
    """

    inputs: tuple[Input, ...]
    lines: tuple[Line, ...]
    outputs: tuple[str, ...]
    config: str
    numbers: Numbers
    batch: int = 1
    fused: bool = False

    @property
    def configuration(self) -> dict[str, Any]:
        """``config`` as a mapping."""
        return dict(json.loads(self.config))

    def configured(self, config: Mapping[str, Any]) -> Case:
        """With another configuration."""
        return dataclasses.replace(self, config=json.dumps(config, sort_keys=True))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The records that its steps were drawn for."""
        return tuple(dict.fromkeys(line.kind for line in self.lines))

    @property
    def tame(self) -> bool:
        """Whether all magnitudes are those of a usual model."""
        numbers = self.numbers
        sizes = (numbers.weights, numbers.biases, numbers.statistics, numbers.inputs)
        return all(0.05 <= size <= 20 or size == 0 for size in sizes) and numbers.growth <= 100

    def without_dead_steps(self) -> Case:
        """Leaves out what no output depends on."""
        wanted, kept = set(self.outputs), []
        for line in reversed(self.lines):
            if line.target in wanted:
                kept.append(line)
                wanted |= set(line.operands)
        inputs = tuple(entry for entry in self.inputs if entry.name in wanted)
        return dataclasses.replace(self, lines=tuple(reversed(kept)), inputs=inputs)

    def program(self) -> str:
        """Python that leaves ``qmodel``, ``variables`` and ``inputs``: what is compared in all ways."""
        numbers = self.numbers
        later = "" if numbers.growth == 1.0 else f"inputs = {_grown(self.inputs, numbers.growth)}\n"
        return (
            _IMPORTS
            + ("import optax\n" if numbers.steps else "")
            + "\nimport linger_jax\n\n\n"
            + self._model()
            + f"\n\nrandom = np.random.default_rng({numbers.seed})\n"
            + "".join(f"{entry.name} = {self._array(entry)}\n" for entry in self.inputs)
            + f"inputs = ({', '.join(entry.name for entry in self.inputs)},)\n"
            + _VARIABLES.format(weights=numbers.weights, biases=numbers.biases, statistics=numbers.statistics)
            + ("model, floats, _ = linger_jax.trace_layers(model, floats, *inputs)\n" if self.fused else "")
            + f"qmodel = linger_jax.init(model, {self.configuration!r})\n"
            + "variables = qmodel.adopt(floats, *inputs)\n"
            + (_CALIBRATION if numbers.calibrated else "")
            + (_DRAWN_SCALES if numbers.drawn else "")
            + (_TRAINING.format(optimizer=numbers.optimizer, steps=numbers.steps) if numbers.steps else "")
            + later
        )

    def _model(self) -> str:
        body = "".join(f"        {line.target} = {line.text}\n" for line in self.lines)
        return _MODEL.format(
            inputs=", ".join(entry.name for entry in self.inputs), body=body, outputs=", ".join(self.outputs)
        )

    def _array(self, entry: Input) -> str:
        shape, numbers = (self.batch, *entry.shape), self.numbers
        if entry.tokens:
            return f"random.integers(0, {entry.tokens}, {shape}, np.int32)"
        match numbers.sort:
            case "constant":
                return f"np.full({shape}, {numbers.inputs!r}, np.float32)"
            case "one-hot":
                return f"np.float32({numbers.inputs!r}) * (np.indices({shape})[1:].sum(0) == 0)"
            case _:
                return f"np.float32({numbers.inputs!r}) * random.standard_normal({shape}, np.float32)"


def _grown(inputs: tuple[Input, ...], growth: float) -> str:
    texts = (entry.name if entry.tokens else f"{entry.name} * np.float32({growth!r})" for entry in inputs)
    return f"({', '.join(texts)},)"


_IMPORTS = """\
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
"""

_MODEL = """\
class Model(nn.Module):
    @nn.compact
    def __call__(self, {inputs}, train=False):
{body}        return {outputs}
"""

_VARIABLES = """\


def draw(path, leaf):
    statistic = "batch_stats" in jax.tree_util.keystr(path)
    size = {statistics!r} if statistic else {biases!r} if leaf.ndim < 2 else {weights!r}
    values = np.float32(size * random.standard_normal(leaf.shape))
    return np.abs(values) if statistic else values.astype(leaf.dtype)


model = Model()
floats = jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, jax.random.key(0), *inputs))
"""

_CALIBRATION = "variables = linger_jax.calibrate(qmodel, variables, [inputs], progress=False)\n"

_DRAWN_SCALES = """\


def scale(path, leaf):
    return np.asarray(2.0 ** random.integers(0, 15, leaf.shape), np.float32) if path[-1].key == "scale" else leaf


variables["quant"] = jax.tree_util.tree_map_with_path(scale, variables["quant"])
"""

_TRAINING = """\


@jax.jit
def step(params, rest, state):
    def loss(params):
        outputs, updates = qmodel.apply(
            {{"params": params, **rest}}, *inputs, train=True, mutable=list(rest), rngs={{"dropout": jax.random.key(1)}}
        )
        return sum((y.mean() for y in jax.tree.leaves(outputs) if y.dtype == jnp.float32), 0.0), updates

    slopes, updates = jax.grad(loss, has_aux=True)(params)
    changes, state = optimizer.update(slopes, state, params)
    return optax.apply_updates(params, changes), updates, state


optimizer = optax.{optimizer}(1e-4)
params, rest = variables["params"], {{name: tree for name, tree in variables.items() if name != "params"}}
state = optimizer.init(params)
for _ in range({steps}):
    params, rest, state = step(params, rest, state)
variables = {{"params": params, **rest}}
"""

"""Draws models: what, of which shapes, with which configuration and numbers, follows from a seed and an index alone."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

import linger_jax
from linger_jax.config import Compat, Platform, QatMethod
from linger_jax.kinds import BATCH_NORM, CONV
from tests.equality.drawn.calls_of_kinds import CALLS, TOKENS, Call, is_rare, makes_a_grid, wants_a_grid
from tests.equality.drawn.case import Case, Input, Line, Numbers
from tests.equality.drawn.configurations import draw_config

NAMES: Mapping[str, Any] = {
    "nn": nn,
    "jax": jax,
    "jnp": jnp,
    "lax": lax,
    "linger_jax": linger_jax,
    "checkpoint_name": checkpoint_name,
}
"""What an expression may name."""

_SIZES = (1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17)
_PLANE = (1, 2, 3, 4, 5, 7)
_BATCHES = (1, 2, 3, 5, 7, 9)
_WINDOWS = (1, 2, 3, 3, 5)
_STRIDES = (1, 1, 1, 2, 2, 4)
_PADDINGS = ('"SAME"', '"SAME"', '"VALID"', "1", "0")
_MAGNITUDES = tuple(10.0**exponent for exponent in range(-9, 10))
_LARGEST = 2000
"""Elements of a sample beyond which a step is drawn anew."""
_TOKENS = 11

Shapes = dict[str, tuple[tuple[int, ...], Any]]
"""Shape, the batch included, and dtype of each value."""


def draw_case(
    seed: int, index: int, only: str | None = None, platform: Platform | None = None, *, small: bool = False
) -> Case:
    """The model of an index.

    Args:
      seed, index: decide everything together with the rest.
      only: the name of a kind or move that the model has to hold.
      platform: the chip; None for any.
      small: with few steps, and seldom calibrated or trained, for both have to be compiled.
    """
    draw = random.Random(f"{seed}.{index}.{only}.{platform}.{small}")
    chip = draw.choice(tuple(Platform)) if platform is None else platform
    return _Drawing(draw, chip, only, small).case()


class _Drawing:
    def __init__(self, draw: random.Random, platform: Platform, only: str | None, small: bool) -> None:
        self.draw = draw
        self.platform = platform
        self.only = only
        self.steps = (1, 2) if small else (2, 6)
        self.trained = 0.1 if small else 1 / 3
        self.with_drawn_scales = 0.5 if small else 0.1
        self.batch = draw.choice(_BATCHES)
        self.inputs: list[Input] = []
        self.lines: list[Line] = []
        self.shapes: Shapes = {}
        self.on_grid: set[str] = set()

    def case(self) -> Case:
        names = [name for name in CALLS if self.draw.random() < 0.1 or not is_rare(name, self.platform)]
        count = self.draw.randint(*self.steps)
        place = self.draw.randrange(count)
        for number in range(count):
            self._step(self.only if self.only is not None and number == place else self.draw.choice(names))
        if all(line.kind not in ("dense", "conv") for line in self.lines):
            self._step("dense")
        read = {name for line in self.lines for name in line.operands}
        ends = [line.target for line in self.lines if line.target not in read]
        others = [line.target for line in self.lines if line.target in read and line.target in self.shapes]
        if others and self.draw.random() < 0.2:
            ends.append(self.draw.choice(others))
        config = draw_config(self.draw, self.platform, _modules(self.lines))
        kinds = {line.kind for line in self.lines}
        return Case(
            inputs=tuple(self.inputs),
            lines=tuple(self.lines),
            outputs=tuple(ends),
            config=json.dumps(config, sort_keys=True),
            numbers=self._numbers(can_calibrate=_can_calibrate(config) or self.draw.random() < 0.05),
            batch=self.batch,
            fused={CONV.name, BATCH_NORM.name} <= kinds and self.draw.random() < 0.5,
        )

    def _step(self, name: str) -> None:
        """One more line for a kind: a call that fits a value that is there, else one of a fresh input."""
        sparing = self.draw.random() < 0.9
        calls = [c for c in CALLS[name] if not sparing or not any(is_rare(also, self.platform) for also in c.also)]
        self.draw.shuffle(calls)
        for value in self._candidates():
            for call in calls:
                if self._fits(call, value) and self._append(name, call, value):
                    return
        for call in calls:
            for _ in range(16):
                value = self._input(self.draw.choice(call.ranks))
                if self._fits(call, value) and self._append(name, call, value):
                    return
                self._forget(value)

    def _candidates(self) -> list[str]:
        """Values, the last one first in most cases."""
        values = list(reversed(self.shapes))
        if self.draw.random() < 0.3:
            self.draw.shuffle(values)
        return values

    def _fits(self, call: Call, value: str) -> bool:
        shape, dtype = self.shapes[value]
        floats = jnp.issubdtype(dtype, jnp.floating)
        rank = len(shape) if floats else TOKENS
        return rank in call.ranks and call.where(shape) and (floats or value.startswith("a"))

    def _input(self, rank: int) -> str:
        name = f"a{len(self.inputs)}"
        extents = tuple(self.draw.choice(_PLANE) for _ in range(max(rank, 3) - 2 if rank != TOKENS else 1))
        shape = extents if rank == TOKENS else (*extents, self.draw.choice(_SIZES)) if rank > 2 else (_of(self.draw),)
        if rank > 2 and {*shape} == {shape[0]} != {1}:  # which order a file has must show in the shape
            shape = (*shape[:-1], shape[-1] + 1)
        self.inputs.append(Input(name, shape, _TOKENS if rank == TOKENS else 0))
        self.shapes[name] = ((self.batch, *shape), jnp.int32 if rank == TOKENS else jnp.float32)
        return name

    def _forget(self, name: str) -> None:
        self.inputs.pop()
        del self.shapes[name]

    def _append(self, kind: str, call: Call, value: str) -> bool:
        """Writes a line, and one in front of it where ``{y}`` has to be made; False where its result has no use."""
        before = len(self.lines)
        if wants_a_grid(kind) and value not in self.on_grid and self.draw.random() < 0.95:
            value = self._layer(value)
        shape, _ = self.shapes[value]
        fields = {
            "x": value,
            "width": _of(self.draw),
            "window": self.draw.choice(_WINDOWS),
            "stride": self.draw.choice(_STRIDES) if self.draw.random() < 0.98 else 3,
            "padding": self.draw.choice(_PADDINGS),
            "index": self.draw.randrange(shape[1]),
            "number": before,
            "b": f"{value}.shape[0]",
            "t": shape[1],
            "c": shape[-1],
        }
        if "{y}" in call.text:
            fields["y"] = self._partner(value)
        done = self._line(kind, call.text.format(**fields))
        if not done:
            for line in self.lines[before:]:
                del self.shapes[line.target]
            self.on_grid -= {line.target for line in self.lines[before:]}
            del self.lines[before:]
        return done

    def _partner(self, value: str) -> str:
        """Another value of the same shape: one that is there, or a layer's."""
        same = [name for name in self.shapes if name != value and self.shapes[name] == self.shapes[value]]
        if same and self.draw.random() < 0.6:
            return self.draw.choice(same)
        return self._layer(value)

    def _layer(self, value: str) -> str:
        """A layer of a value, of the same shape."""
        shape, dtype = self.shapes[value]
        if not jnp.issubdtype(dtype, jnp.floating):
            return value
        image = len(shape) == 4
        layer = f"nn.Conv({shape[-1]}, (1, 1))" if image else f"nn.Dense({shape[-1]})"
        return self.lines[-1].target if self._line("conv" if image else "dense", f"{layer}({value})") else value

    def _line(self, kind: str, text: str) -> bool:
        line = Line(f"v{len(self.lines)}", text, kind)
        try:
            found = _result(line, self.shapes)
        except (TypeError, ValueError, ZeroDivisionError):
            return False
        if not 0 < found.size <= _LARGEST * self.batch or found.ndim not in (1, 2, 3, 4):
            return False
        self.lines.append(line)
        if makes_a_grid(kind) or self.on_grid & set(line.operands):
            self.on_grid.add(line.target)
        if found.ndim > 1:
            self.shapes[line.target] = (found.shape, found.dtype)
        return True

    def _numbers(self, *, can_calibrate: bool) -> Numbers:
        draw = self.draw
        wild = draw.random() < 0.45

        def size(*usual: float) -> float:
            if wild and draw.random() < 0.4:
                return draw.choice((0.0, *_MAGNITUDES, *_MAGNITUDES))
            return draw.choice(usual)

        drawn = draw.random() < self.with_drawn_scales
        steps = draw.choice((2, 3)) if not drawn and (draw.random() < self.trained or not can_calibrate) else 0
        return Numbers(
            seed=draw.randrange(2**31),
            weights=size(0.1, 0.3, 1.0),
            biases=size(0.1, 1.0),
            statistics=size(0.3, 1.0),
            inputs=size(0.5, 1.0, 3.0) or 1.0,
            sort=draw.choice(("constant", "one-hot")) if draw.random() < 0.15 else "normal",
            growth=draw.choice((100.0, 0.01)) if draw.random() < 0.15 else 1.0,
            calibrated=not drawn and (not steps or (can_calibrate and draw.random() < 0.7)),
            drawn=drawn,
            steps=steps,
            optimizer=draw.choice(("sgd", "adam")),
        )


def _can_calibrate(config: Mapping[str, Any]) -> bool:
    """docs/specification/config.md section 4, defect C16."""
    moves = config.get("quant_info", {}).get("qat_method", QatMethod.MOM) == QatMethod.MOM
    return not (moves and config.get("compat") == Compat.reference)


def _of(draw: random.Random) -> int:
    return draw.choice(_SIZES)


def _result(line: Line, shapes: Shapes) -> Any:
    class Step(nn.Module):
        @nn.compact
        def __call__(self, values: Mapping[str, Any]) -> Any:
            return eval(line.text, {**NAMES, **values, "self": self, "train": False})

    values = {name: jax.ShapeDtypeStruct(*shapes[name]) for name in line.operands}
    module = Step()
    return jax.eval_shape(lambda values: module.init_with_output(jax.random.key(0), values)[0], values)


def _modules(lines: Sequence[Line]) -> list[str]:
    """Names that Flax gives to modules of the model: the first of each class."""
    classes = (re.match(r"(?:linger_jax\.)?nn\.([A-Z]\w+)\(", line.text) for line in lines)
    return [f"{name}_0" for name in dict.fromkeys(found[1] for found in classes if found)]

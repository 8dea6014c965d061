"""The values of a plan: nodes, graphs and quantizers. Frozen, printable, knows neither Flax nor the interpreter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from linger_jax.compat import ClosedJaxpr
from linger_jax.config import LayerConfig
from linger_jax.kinds import KIND_OF_NODE, MOVE_OF_PRIMITIVE, Kind, Move
from linger_jax.plan.graph.average_pool import AveragePool
from linger_jax.plan.graph.kernel_layout import FileLayout
from linger_jax.plan.graph.node_attributes import POOL, PRIMITIVE
from linger_jax.plan.graph.owners import Owner
from linger_jax.quantizers import QuantizerSpec
from linger_jax.staging import LayerInfo
from linger_jax.typing import Path

LOST = "lost"
"""Operator of a note that a layer stands inside something that runs as it is: it has neither operands nor results."""
ValueId = int
"""Number of a value, unique over all regions of one plan."""
Scan = tuple[int, int]
"""Serial and length of a scan."""


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """An operand that is known when the plan is made: a literal or a constant of the trace."""

    value: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def is_scalar(self, number: float) -> bool:
        """Whether this is a literal scalar equal to ``number``."""
        return (
            self.shape == ()
            and isinstance(self.value, (int, float, np.ndarray, np.generic))
            and bool(np.asarray(self.value) == number)
        )


Atom = ValueId | Constant


@dataclasses.dataclass(frozen=True)
class ValueInfo:
    """Shape and dtype of a value, and the parameter it is a view of, if any.

    Attributes:
      shape, dtype: of the array.
      parameter: path of the variable this value comes from through reshape, transpose, cast or slice only.
      direct: the value *is* that variable (or, inside a scan, its slice for this iteration).
      stack: the surrounding scans that iterate over that variable, outermost first.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parameter: Path | None = None
    direct: bool = False
    stack: tuple[Scan, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One step of the plan.

    Attributes:
      op: what it is: a primitive, one of a kind's names (see ``kind``), ``remat``, ``scan`` or ``lost``.
      inputs, outputs: operands and results.
      run: evaluates the node on plain arrays, or None for nodes that only rules evaluate.
      owner: the module whose body the node stands in.
      source: ``file:line`` in the user's code.
      layer, jaxpr: of a layer: its description and its own float jaxpr.
      attributes: static parameters that rules read: JAX's own, and those of node_attributes.py.
      body: graph of a ``remat`` or ``scan``.
      quantized: whether a rule of the quantizer takes part.
      reason: why not, or a remark.
      state_path: path under which its quantizers live.
      bits: bits of each result that is a QTensor, else None.
      config: configuration of the module the node belongs to.
    """

    op: str
    inputs: tuple[Atom, ...]
    outputs: tuple[ValueId, ...]
    owner: Owner
    source: str = ""
    run: Callable[..., list[Any]] | None = None
    layer: LayerInfo | None = None
    jaxpr: ClosedJaxpr | None = None
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    body: Graph | None = None
    quantized: bool = False
    reason: str = ""
    state_path: Path | None = None
    bits: tuple[int | None, ...] = ()
    config: LayerConfig | None = None

    @property
    def kind(self) -> Kind | None:
        """What is known of steps like it; None of primitives without a quantized form, of loops and of lost layers."""
        return KIND_OF_NODE.get(self.op)

    @property
    def move(self) -> Move | None:
        """Which move it is, decided or not; None for everything that does more than move values."""
        return MOVE_OF_PRIMITIVE.get(self.primitive)

    @property
    def primitive(self) -> str:
        """JAX's name of its equation; its ``op`` where it was never one."""
        return str(self.attributes.get(PRIMITIVE, self.op))

    @property
    def layer_info(self) -> LayerInfo:
        """The description of a layer, for those who know that it is one."""
        assert self.layer is not None, self.op
        return self.layer

    @property
    def float_jaxpr(self) -> ClosedJaxpr:
        """The float computation of a layer, likewise."""
        assert self.jaxpr is not None, self.op
        return self.jaxpr

    @property
    def layer_config(self) -> LayerConfig:
        """The configuration of a decided layer, likewise."""
        assert self.config is not None, self.op
        return self.config

    @property
    def loop_body(self) -> Graph:
        """The graph of a ``remat`` or ``scan``, likewise."""
        assert self.body is not None, self.op
        return self.body

    @property
    def pool(self) -> AveragePool:
        """The window and the divisor of an average pool, likewise."""
        pool: AveragePool = self.attributes[POOL]
        return pool

    def quantizer_path(self, *names: str) -> Path:
        """The place of one of its quantizers in the ``quant`` collection; without a name that of all of them."""
        assert self.state_path is not None, self.op
        return (*self.state_path, *names)

    @property
    def label(self) -> str:
        """Dotted name for messages."""
        path = self.state_path or (self.layer.path if self.layer else self.owner.path)
        return ".".join(path) or "<root>"


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A straight-line region: inputs, nodes in execution order, outputs."""

    inputs: tuple[ValueId, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Atom, ...]
    infos: Mapping[ValueId, ValueInfo]

    def walk(self) -> Iterator[Node]:
        """All nodes in execution order, those of bodies after their ``remat`` or ``scan``."""
        for node in self.nodes:
            yield node
            if node.body is not None:
                yield from node.body.walk()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantizer:
    """A named quantizer of the plan.

    Attributes:
      path: module path, then quantizer name: its place in the ``quant`` collection.
      spec: what it does.
      stack: lengths of the surrounding scans that iterate over its layer's parameters; leading axes of its state.
      active: it quantizes (or calibrates) in this plan; False for one that only records an incoming scale.
      parameter: the parameter it quantizes, when the layer reads that parameter directly.
      pieces: the parameters that it quantizes joined along their last axis (the gates of a recurrent layer), likewise.
      visits: how often one call reaches it.
      file_layout: layout of the parameter in the reference's memory, where the order of a sum over it counts.
      fixed_scale: the scale that it has whatever data it sees (docs/specification/ops.md section 5); None where
        data decides.
      tied: the quantizers that share one scale with it, itself among them (docs/decisions.md D22).
      limited_by: quantizers whose scales its own never exceeds (addition, docs/specification/ops.md section 4).
    """

    path: Path
    spec: QuantizerSpec
    stack: tuple[int, ...] = ()
    active: bool = False
    parameter: Path | None = None
    visits: int = 0
    file_layout: FileLayout | None = None
    fixed_scale: float | None = None
    pieces: tuple[Path, ...] = ()
    tied: tuple[Path, ...] = ()
    limited_by: tuple[Path, ...] = ()

    @property
    def parameters(self) -> tuple[Path, ...]:
        """Every parameter it reads directly."""
        return self.pieces or (() if self.parameter is None else (self.parameter,))

"""What a model has room for: every layer of a plan with its variables, and the variables that belong to no layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from linger_jax.compat import SCAN, ClosedJaxpr, JaxprEqn, equations, operation
from linger_jax.converters.layout import contracted_axes
from linger_jax.kinds import CONV_TRANSPOSE, DENSE, DROPOUT, MOVES, LayerKind
from linger_jax.plan import Constant, Graph, Node, Plan
from linger_jax.plan.graph import LOST
from linger_jax.typing import Path, Shape


@dataclasses.dataclass(frozen=True)
class LayerVariable:
    """One variable of a layer.

    Attributes:
      path: collection, then keys.
      shape: of one layer; without the leading axis of a scan.
    """

    path: Path
    shape: Shape


@dataclasses.dataclass(frozen=True, eq=False)
class ModelLayer:
    """One layer, once however often it is called.

    Attributes:
      kind: what is known of layers like it.
      type_name: its class.
      path: module path.
      variables: by the name inside the layer (``kernel``, ``bias``, ``mean``, ``0.weight_ih``, ...).
      index: place in the order of execution.
      iteration: number of the iteration of the scan whose slice of the variables this is, or None.
      follows: path of the layer whose result it reads directly, or None.
      contracted: of a Dense, how many leading axes of the kernel are summed over.
      flipped: of a ConvTranspose, whether the kernel is stored as PyTorch's (``transpose_kernel=True``).
      groups: of a convolution.
      reverse: a recurrent layer that runs from the last step to the first.
    """

    kind: LayerKind
    type_name: str
    path: Path
    variables: Mapping[str, LayerVariable]
    index: int
    iteration: int | None = None
    follows: Path | None = None
    contracted: int = 1
    flipped: bool = False
    groups: int = 1
    reverse: bool = False

    @property
    def label(self) -> str:
        """Dotted path for messages."""
        name = ".".join(self.path) or "<root>"
        return name if self.iteration is None else f"{name}[{self.iteration}]"


@dataclasses.dataclass(frozen=True, eq=False)
class ModelInventory:
    """All room in a model.

    Attributes:
      layers: in order of execution.
      free: variables that no layer holds, by path.
      reasons: why a free variable's layer could not be followed, by module path.
    """

    layers: tuple[ModelLayer, ...]
    free: Mapping[Path, Shape]
    reasons: Mapping[Path, str]


def model_inventory(plan: Plan, shapes: Mapping[Path, Shape]) -> ModelInventory:
    """Reads the slots off a plan.

    Args:
      plan: of the float model.
      shapes: shape of every variable of the model.
    """
    finder = _Finder(shapes)
    finder.region(plan.graph, None)
    taken = {variable.path for layer in finder.layers for variable in layer.variables.values()}
    free = {path: shape for path, shape in shapes.items() if path not in taken}
    return ModelInventory(tuple(finder.layers), free, finder.reasons)


class _Finder:
    def __init__(self, shapes: Mapping[Path, Shape]) -> None:
        self.shapes = shapes
        self.layers: list[ModelLayer] = []
        self.reasons: dict[Path, str] = {}
        self.known: set[tuple[Path, int | None]] = set()
        self.source: dict[int, Path] = {}

    def region(self, graph: Graph, iteration: int | None) -> None:
        for node in graph.nodes:
            if node.body is not None:
                for inner, outer in zip(node.body.inputs, node.inputs, strict=True):
                    if not isinstance(outer, Constant) and outer in self.source:
                        self.source[inner] = self.source[outer]
                for i in range(node.attributes["length"]) if node.op == SCAN else [iteration]:
                    self.region(node.body, i)
            elif node.op == LOST and node.layer is not None:
                self.reasons[node.layer.path] = node.reason
            elif node.layer is not None and node.owner.composite is not None:
                self.reasons[node.owner.path] = f"a {node.owner.composite.what} is not imported yet"
            elif node.layer is not None and not node.layer.kind.passes:
                self.layer(graph, node, iteration)
            elif _passes(node) and not isinstance(node.inputs[0], Constant) and node.inputs[0] in self.source:
                self.source[node.outputs[0]] = self.source[node.inputs[0]]

    def layer(self, graph: Graph, node: Node, iteration: int | None) -> None:
        info = node.layer_info
        variables: dict[str, LayerVariable] = {}
        stacked = False
        follows = None
        for atom, role in zip(node.inputs, info.operands, strict=True):
            if isinstance(atom, Constant):
                continue
            value = graph.infos[atom]
            if role[0] == "input":
                follows = self.source.get(atom, follows)
            elif value.parameter is not None:
                stored = self.shapes[value.parameter]
                if value.stack and stored == (value.stack[0][1], *value.shape) and len(value.stack) == 1:
                    stacked = True
                elif stored != value.shape:
                    self.reasons[info.path] = (
                        f"{info.type_name} reads {'.'.join(value.parameter)} reshaped or transposed"
                    )
                    continue
                # A recurrent layer has the variables of each direction's cell: 0.weight_ih, 1.hf.kernel.
                name = ".".join(role[1:]) if info.kind.cell is not None else role[-1]
                variables[name] = LayerVariable(value.parameter, value.shape)
            else:
                self.reasons[info.path] = f"{info.type_name} computes its {role[-1]} from other variables"
        self.source[node.outputs[info.results.index(("output", "0"))]] = info.path
        number = iteration if stacked else None
        if not variables or info.kind.no_torch_weights is not None or (info.path, number) in self.known:
            return  # a layer that PyTorch has no module for keeps its variables as parameters by themselves
        self.known.add((info.path, number))
        count = len(contracted_axes(node, 1)) if info.kind == DENSE else 1
        flipped = info.kind == CONV_TRANSPOSE and _reverses(node)
        groups = info.attributes.get("groups", 1)
        back = bool(info.attributes.get("reverse", False))
        layer = ModelLayer(
            info.kind,
            info.type_name,
            info.path,
            variables,
            len(self.layers),
            number,
            follows,
            count,
            flipped,
            groups,
            back,
        )
        self.layers.append(layer)


def _passes(node: Node) -> bool:
    """Whether the values behind it are still those of the layer before it, for pairing a norm with that layer."""
    return node.kind == DROPOUT or (node.op in MOVES and MOVES[node.op].keeps_channels)


def _reverses(node: Node) -> bool:
    """Whether the layer flips its kernel itself, as PyTorch's transposed convolution does."""
    return any(eqn.primitive.name == "rev" for eqn in _equations(node.float_jaxpr))


def _equations(closed: ClosedJaxpr) -> Iterator[JaxprEqn]:
    for eqn in equations(closed):
        yield eqn
        for inner in operation(eqn).jaxprs:
            yield from _equations(inner)

"""Follows the axes of every value through a plan: in which order layers meet their features (docs/decisions.md D20)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from linger_jax.compat import REMAT, SCAN, equations, leaf_count, parts_of_tuple
from linger_jax.converters.layout.axis_layout import (
    Axis,
    AxisOrder,
    Layout,
    Unflatten,
    as_channels_first,
    channels_last,
    merge,
    plain,
    same_order,
)
from linger_jax.converters.layout.layout_rules import Operand, apply_rule, as_dense_input, feature_axis
from linger_jax.kinds import (
    BATCH_NORM,
    CONV,
    CONV_TRANSPOSE,
    DENSE,
    EMBED,
    GROUP_NORM,
    INSTANCE_NORM,
    LAYER_NORM,
    MATMUL,
    RMS_NORM,
)
from linger_jax.plan import Atom, Constant, Graph, Node, Plan
from linger_jax.plan.graph import LOST
from linger_jax.typing import Path, Shape

_MOST_ROUNDS = 16


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureOrders:
    """What a plan says about the features of its layers, by module path; absent where both frameworks agree.

    Attributes:
      inputs: order of the features a layer reads: rows of a Dense, input channels of a convolution, entries of a norm.
      outputs: order of the features a layer makes: columns of a Dense whose result is reshaped to an image.
      products: parameters used as the right factor of a matrix product outside any layer, ``[in, out]``.
      parameters: order of the features that a parameter of no layer is combined with along its last axis.
    """

    inputs: Mapping[Path, AxisOrder]
    outputs: Mapping[Path, AxisOrder]
    products: frozenset[Path]
    parameters: Mapping[Path, AxisOrder]


def feature_orders(plan: Plan, *, convolutions: Collection[Path] = (), linears: Collection[Path] = ()) -> FeatureOrders:
    """Follows every value of the plan, again from the start whenever a reshape asks its layer for another order.

    Args:
      plan: of the float model.
      convolutions: paths of Dense layers that are 1 x 1 convolutions in PyTorch, which leave images channels-first.
      linears: paths of 1 x 1 convolutions that are linear layers in PyTorch, which have features last.
    """
    wanted = _Wanted()
    for _ in range(_MOST_ROUNDS):
        flow = _Flow(plan, wanted, frozenset(convolutions), frozenset(linears))
        flow.run()
        if not wanted.changed():
            break
    return FeatureOrders(flow.inputs, wanted.outputs, frozenset(flow.products), flow.parameters)


class _Wanted:
    """What later parts of the graph ask of earlier ones."""

    def __init__(self) -> None:
        self.outputs: dict[Path, AxisOrder] = {}
        self.images: set[int] = set()
        self._news = False

    def ask(self, demands: Iterable[tuple[Unflatten, AxisOrder | None]]) -> None:
        for unflatten, order in demands:
            if unflatten.graph_input is not None:
                self._news |= unflatten.graph_input not in self.images
                self.images.add(unflatten.graph_input)
            elif order is not None:
                for path in unflatten.makers:
                    known = self.outputs.get(path)
                    if known is None:
                        self.outputs[path] = order
                        self._news = True
                    elif known.index is not None and not same_order(known, order):
                        text = "its output features are asked for in two different orders"
                        self.outputs[path] = AxisOrder(None, order.doubt or text)
                        self._news = True

    def changed(self) -> bool:
        news, self._news = self._news, False
        return news


class _Flow:
    """One pass over a plan."""

    def __init__(self, plan: Plan, wanted: _Wanted, convolutions: frozenset[Path], linears: frozenset[Path]) -> None:
        self.plan = plan
        self.wanted = wanted
        self.convolutions = convolutions
        self.linears = linears
        self.layouts: dict[int, Layout | None] = {}
        self.inputs: dict[Path, AxisOrder] = {}
        self.seen: set[Path] = set()
        self.products: set[Path] = set()
        self.parameters: dict[Path, AxisOrder] = {}

    def run(self) -> None:
        graph, staged = self.plan.graph, self.plan.staged
        for i, value in enumerate(graph.inputs):
            shape = graph.infos[value].shape
            self.layouts[value] = None if i < len(staged.variables) else self._argument(value, shape)
        self._region(graph)
        outputs = leaf_count(parts_of_tuple(staged.out_tree)[0])
        for atom in graph.outputs[:outputs]:
            shape, layout = self._operand(graph, atom)
            if layout is None or len(shape) < 4:
                continue
            if all(axis.parts for axis, size in zip(layout[1:], shape[1:], strict=True) if size != 1):
                self._as_image(shape, layout, len(shape) - 2)

    def _argument(self, value: int, shape: Shape) -> Layout:
        if len(shape) >= 4 or value in self.wanted.images:
            return channels_last(len(shape), len(shape) - 2)
        if len(shape) < 3:
            return plain(len(shape))
        axes = Unflatten(frozenset(), shape[1:], value)
        return (Axis(), *(Axis(parts=frozenset({(axes, i)})) for i in range(len(shape) - 1)))

    def _operand(self, graph: Graph, atom: Atom) -> Operand:
        if isinstance(atom, Constant):
            return tuple(atom.shape), None
        return graph.infos[atom].shape, self.layouts[atom]

    def _region(self, graph: Graph) -> None:
        for node in graph.nodes:
            operands = [self._operand(graph, atom) for atom in node.inputs]
            shapes = [graph.infos[value].shape for value in node.outputs]
            if node.op == LOST:
                continue
            if node.op == REMAT:
                results = self._body(node, [layout for _, layout in operands])
            elif node.op == SCAN:
                results = self._scan(node, operands)
            elif node.layer is not None and node.layer.kind.cell is not None:
                results = self._recurrent(node, operands, shapes)
            elif node.layer is not None:
                results = [self._layer(graph, node, operands), *(None for _ in node.outputs[1:])]
            else:
                self._note_product(graph, node)
                self._meet(operands, shapes)
                results = apply_rule(node, operands, shapes)
                self._note_parameters(graph, node, shapes, results)
            for value, shape, layout in zip(node.outputs, shapes, results, strict=True):
                self.layouts[value] = layout if layout is None or len(layout) == len(shape) else plain(len(shape))

    # --- bodies ---

    def _body(self, node: Node, layouts: Sequence[Layout | None]) -> list[Layout | None]:
        self.layouts.update(zip(node.loop_body.inputs, layouts, strict=True))
        self._region(node.loop_body)
        return [self._operand(node.loop_body, atom)[1] for atom in node.loop_body.outputs]

    def _scan(self, node: Node, operands: Sequence[Operand]) -> list[Layout | None]:
        fixed, carried = node.attributes["consts"], node.attributes["carry"]
        layouts = [layout for _, layout in operands]
        slices = [None if layout is None else layout[1:] for layout in layouts[fixed + carried :]]
        results = self._body(node, [*layouts[: fixed + carried], *slices])
        stacked = [None if layout is None else (Axis(), *layout) for layout in results[carried:]]
        return [*results[:carried], *stacked]

    # --- layers ---

    def _recurrent(self, node: Node, operands: Sequence[Operand], shapes: Sequence[Shape]) -> list[Layout | None]:
        """Features last in both; what comes out is the hidden state's own."""
        layout = next(
            o[1] for o, role in zip(operands, node.layer_info.operands, strict=True) if role == ("input", "0")
        )
        if layout is not None:
            self._read(node.layer_info.path, layout[-1].order)
        return [plain(len(shape)) for shape in shapes]

    def _layer(self, graph: Graph, node: Node, operands: Sequence[Operand]) -> Layout | None:
        given = [o for o, role in zip(operands, node.layer_info.operands, strict=True) if role[0] == "input"]
        if not given:
            return plain(len(graph.infos[node.outputs[0]].shape))
        shape, layout = given[0]
        layout = plain(len(shape)) if layout is None else layout
        kind, path = node.layer_info.kind, node.layer_info.path
        rank = len(graph.infos[node.outputs[0]].shape)
        kernel = next(
            (s for (s, _), r in zip(operands, node.layer_info.operands, strict=True) if r[-1] == "kernel"), None
        )
        if kind == DENSE and path in self.convolutions and rank == len(shape) >= 3:
            layout = self._as_image(shape, layout, rank - 2)
            self._read(path, layout[-1].order)
            return channels_last(rank, rank - 2)
        if kind == DENSE or (path in self.linears and rank == len(shape)):
            return self._dense(node, path, shape, layout, rank)
        if kind in (CONV, CONV_TRANSPOSE) and kernel is not None:
            layout = self._as_image(shape, layout, len(kernel) - 2)
            grouped = node.layer_info.attributes["groups"] > 1
            self._read(path, _ungrouped(layout[-1].order, grouped))
            return channels_last(rank, len(kernel) - 2)
        if kind == EMBED:
            return (*plain(rank - 1), Axis(order=self.wanted.outputs.get(path), makers=frozenset({path})))
        if kind in (BATCH_NORM, GROUP_NORM, INSTANCE_NORM):
            if len(shape) >= 3:
                layout = self._as_image(shape, layout, len(shape) - 2)
            self._read(path, _ungrouped(layout[-1].order, kind == GROUP_NORM))
            return layout
        if kind in (LAYER_NORM, RMS_NORM):
            return self._trailing_norm(node, path, shape, layout, operands)
        return layout if len(layout) == rank else plain(rank)

    def _dense(self, node: Node, path: Path, shape: Shape, layout: Layout, rank: int) -> Layout:
        contracted = contracted_axes(node, len(shape))
        self._read(path, merge([layout[i] for i in contracted], [shape[i] for i in contracted]).order)
        outer = as_dense_input([axis for i, axis in enumerate(layout) if i not in contracted], rank)
        features = rank - len(outer)
        order = self.wanted.outputs.get(path)
        if features == 1:
            axis = feature_axis(outer)
            return (*outer, dataclasses.replace(axis, order=order, makers=frozenset({path})))
        sizes = tuple(self._output_shape(node)[len(outer) :])
        unflatten = Unflatten(frozenset({path}), sizes)
        new = [Axis(parts=frozenset({(unflatten, i)})) for i in range(features)]
        if order is not None:
            kinds = channels_last(features, features - 1)
            new = [dataclasses.replace(axis, kind=kind.kind) for axis, kind in zip(new, kinds, strict=True)]
        return (*outer, *new)

    @staticmethod
    def _output_shape(node: Node) -> Shape:
        shape: Shape = tuple(node.float_jaxpr.out_avals[0].shape)
        return shape

    def _trailing_norm(
        self, node: Node, path: Path, shape: Shape, layout: Layout, operands: Sequence[Operand]
    ) -> Layout:
        entries = [s for (s, _), role in zip(operands, node.layer_info.operands, strict=True) if role[0] == "params"]
        count = len(entries[0]) if entries else 1
        axes = range(len(shape) - count, len(shape))
        self._read(path, merge([layout[i] for i in axes], [shape[i] for i in axes]).order)
        if count == 1 and len(shape) == 3:
            return tuple(dataclasses.replace(axis, kind="plain") for axis in layout)
        return layout

    def _read(self, path: Path, order: AxisOrder | None) -> None:
        """A layer meets its input features in this order; a shared layer must meet them alike every time."""
        if path in self.seen and not same_order(self.inputs.get(path), order):
            order = AxisOrder(None, "a shared layer meets its features in two different orders")
        self.seen.add(path)
        if order is not None:
            self.inputs[path] = order

    # --- what later values say about earlier ones ---

    def _as_image(self, shape: Shape, layout: Layout, spatial: int) -> Layout:
        rank = len(shape)
        result, demands = as_channels_first(layout, shape, range(rank - 1 - spatial, rank - 1), rank - 1)
        self.wanted.ask(demands)
        return result

    def _meet(self, operands: Sequence[Operand], shapes: Sequence[Shape]) -> None:
        """An elementwise operation of an image and a reshaped value: the reshaped value is an image as well."""
        full = [(s, layout) for s, layout in operands if layout is not None and len(s) >= 3 and shapes[:1] == [s]]
        images = [layout for _, layout in full if layout[-1].kind == "channel"]
        if images:
            count = sum(axis.kind == "spatial" for axis in images[0])
            for shape, layout in full:
                if all(axis.kind == "plain" for axis in layout):
                    self._as_image(shape, layout, count)

    def _note_parameters(
        self, graph: Graph, node: Node, shapes: Sequence[Shape], results: Sequence[Layout | None]
    ) -> None:
        """Parameters that meet features in PyTorch's order, as in a bias or a scale written by hand."""
        order = results[0][-1].order if results and results[0] else None
        if order is None:
            return
        for atom in node.inputs:
            info = None if isinstance(atom, Constant) else graph.infos[atom]
            if info is not None and info.parameter is not None and info.shape and info.shape[-1] == shapes[0][-1] != 1:
                self.parameters[info.parameter] = order

    def _note_product(self, graph: Graph, node: Node) -> None:
        if node.kind != MATMUL:
            return
        (_, right), _ = node.attributes["dimension_numbers"]
        atom = node.inputs[1]
        if isinstance(atom, Constant) or tuple(right) != (0,):
            return
        info = graph.infos[atom]
        if info.parameter is not None and info.direct and len(info.shape) == 2:
            self.products.add(info.parameter)


def contracted_axes(node: Node, rank: int) -> tuple[int, ...]:
    """Axes of its input that a Dense sums over, in the order of the kernel's leading axes."""
    for eqn in equations(node.float_jaxpr):
        if eqn.primitive.name == "dot_general":
            (left, right), _ = eqn.params["dimension_numbers"]
            paired = sorted(zip(right, left, strict=True))
            return tuple(int(axis) for _, axis in paired)
    return (rank - 1,)


def _ungrouped(order: AxisOrder | None, grouped: bool) -> AxisOrder | None:
    """Groups are runs of neighbouring channels: channels in another order fall into other groups."""
    if order is None or not grouped:
        return order
    return AxisOrder(None, "its channels are in groups, which another order would mix")

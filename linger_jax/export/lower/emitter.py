"""Writing nodes for one plan: boundaries between floats and integers, axis order, constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from linger_jax.config import QuantMethod, RoundMode
from linger_jax.errors import ExportError
from linger_jax.export.lower.evaluation_record import Record, Visit
from linger_jax.export.lower.exported_values import (
    Axes,
    ExportedValue,
    Grid,
    HostValue,
    TensorValue,
    channels_first,
    flax_order,
)
from linger_jax.export.onnx import ElementType, OnnxGraph, integer_type
from linger_jax.kinds import MOVED, OnnxOperator
from linger_jax.kinds import onnx_operators as ops
from linger_jax.numerics import round_scaled
from linger_jax.plan import Node
from linger_jax.typing import HostArray, Path


class Emitter:
    """What the lowering rules write to.

    Attributes:
      record: the evaluation that is exported.
      graph: the graph under construction.
      platform: written on every node of linger's domain.
      visit: what evaluation used at the node that is being written.
      loops: the loops around it, outermost first: path of the module that loops, and the iteration.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.graph = OnnxGraph()
        self.platform = record.plan.settings.config.platform.value
        self.visit: Visit = record.at(())
        self.loops: tuple[tuple[Path, int], ...] = ()

    def error(self, node: Node, text: str) -> ExportError:
        """An error that names the step and its place in the user's code."""
        return ExportError(f"{place_in_code(node)}: {text}")

    # --- nodes ---

    def integers(
        self,
        operator: OnnxOperator,
        inputs: Sequence[str],
        grid: Grid,
        like: TensorValue,
        *,
        attributes: Mapping[str, Any],
        node: Node,
    ) -> TensorValue:
        """A node that makes integers.

        Args:
          operator: of the node.
          inputs: tensors.
          grid: of the result.
          like: value whose shape, axes and kind the result has.
          attributes: of the node; the platform is added where its operator states it.
          node: the plan's node.
        """
        extra = {"platform": self.platform} if operator.states_platform else {}
        (tensor,) = self.graph.add(
            operator,
            inputs,
            element_types=[integer_type(grid.bits)],
            attributes={**attributes, **extra},
            label=node.label,
        )
        return self.made(dataclasses.replace(like, tensor=tensor, grid=grid))

    def made(self, value: TensorValue) -> TensorValue:
        """Notes the shape of a new tensor."""
        self.graph.shapes[value.tensor] = value.tensor_shape
        return value

    def moved(
        self,
        operator: OnnxOperator,
        value: TensorValue,
        attributes: Mapping[str, Any],
        inputs: Sequence[str] = (),
        **changes: Any,
    ) -> TensorValue:
        """A standard node that moves the elements of a value; ``changes`` are fields of the result.

        ``linger::Squeeze`` stands for Squeeze where the value holds integers.
        """
        if operator is ops.SQUEEZE and value.grid is not None:
            operator = ops.QUANTIZED_SQUEEZE
        kind = self.element_type(value)
        (tensor,) = self.graph.add(operator, [value.tensor, *inputs], element_types=[kind], attributes=attributes)
        return self.made(dataclasses.replace(value, tensor=tensor, **changes))

    @staticmethod
    def element_type(value: TensorValue) -> ElementType:
        """Element type of a value's tensor."""
        if value.grid is not None:
            return integer_type(value.grid.bits)
        return "float32" if np.issubdtype(value.dtype, np.inexact) else "int64"

    def parameter_name(self, path: Path, parameter: str, quantizer: Path) -> str:
        """Name of a layer's initializer.

        Where a loop iterates over the layer's parameters, the iteration stands behind the module that it repeats.

        Args:
          path: of the layer.
          parameter: its name in a file.
          quantizer: of the parameter.
        """
        depth = len(self.record.plan.quantizers[quantizer].stack)
        for around, iteration in reversed(self.loops[len(self.loops) - depth :]):
            behind = len(around) + 1 if path[: len(around)] == around else 1  # the module that is looped over
            path = (*path[:behind], str(iteration), *path[behind:])
        return ".".join((*path, parameter))

    # --- axis order ---

    def arranged(self, value: TensorValue, axes: Axes) -> TensorValue:
        """The value with its tensor's axes in another order; a Transpose where they are not."""
        if _same_order(value, axes):
            return dataclasses.replace(value, axes=axes)
        perm = [value.axes.index(axis) for axis in axes]
        return self.moved(ops.TRANSPOSE, value, {"perm": perm}, axes=axes)

    def as_image(self, value: TensorValue) -> TensorValue:
        """The value channels-first."""
        return dataclasses.replace(self.arranged(value, channels_first(value.rank)), image=True)

    def in_flax_order(self, value: TensorValue) -> TensorValue:
        """The value with Flax's order of axes."""
        return self.arranged(value, flax_order(value.rank))

    # --- floats and integers ---

    def quantized(self, value: ExportedValue, path: Path, node: Node) -> TensorValue:
        """The value as integers: as it is, or behind a Quant node, or a constant rounded now.

        Args:
          value: the operand.
          path: its quantizer.
          node: the plan's node.
        """
        if isinstance(value, HostValue):
            grid = self.visit.grid(path) if value.grid is None else value.grid
            return self._quantized_constant(value, grid, path)
        if value.grid is not None:
            return value
        grid = self.visit.grid(path)
        if not np.issubdtype(value.dtype, np.floating):
            raise self.error(node, f"its operand is {value.dtype}; only float32 can be quantized")
        attributes: dict[str, Any] = {"scale_x": grid.scale, "data_bits": grid.bits, "zero_point": 0}
        rounding = self.record.plan.quantizers[path].spec.rounding_in_evaluation
        if rounding is not RoundMode.floor_add:  # linger's files do not say it, and are read as if it were this one
            attributes["quant_mode"] = rounding.value
        return self.integers(ops.QUANT, [value.tensor], grid, value, attributes=attributes, node=node)

    def _quantized_constant(self, value: HostValue, grid: Grid, path: Path) -> TensorValue:
        rounding = self.record.plan.quantizers[path].spec.rounding_in_evaluation
        steps = np.asarray(round_scaled(jnp.asarray(value.array, jnp.float32), jnp.float32(grid.scale), rounding))
        least, most = -(2 ** (grid.bits - 1)), 2 ** (grid.bits - 1) - 1
        stored = np.clip(steps, least, most).astype(integer_type(grid.bits))
        name = path[: path.index(next(p for p in path if p.startswith("input_quantizer")))]
        tensor = self.graph.constant(".".join((*name, "constant")), stored)
        return TensorValue(tensor, value.shape, flax_order(len(value.shape)), np.dtype(np.float32), grid)

    def real(self, value: TensorValue) -> TensorValue:
        """The value as real numbers: behind a Dequant node where it holds integers."""
        if value.grid is None:
            return value
        (tensor,) = self.graph.add(
            ops.DEQUANT, [value.tensor], element_types=["float32"], attributes={"scale_o": value.grid.scale}
        )
        return self.made(dataclasses.replace(value, tensor=tensor, grid=None))

    # --- attributes ---

    def output_grid(self, node: Node, quantizer: str = "output_quantizer") -> Grid:
        """Grid of a layer's or operator's result."""
        path = node.quantizer_path(quantizer)
        return self.visit.grid(path)

    def round_mode(self, node: Node) -> str:
        """``quant_mode`` of a node."""
        whole = self.record.plan.settings.config
        config, kernel = node.config or whole, whole.quant_method is QuantMethod.CUDA
        return (RoundMode.floor_add if kernel else config.quant_info.round_mode).value

    def act(self, node: Node, x: TensorValue, output: Grid) -> dict[str, Any]:
        """Attributes of a node with one operand (docs/specification/onnx_export.md section 3, [act])."""
        assert x.grid is not None
        return {
            "x_bits": x.grid.bits,
            "scale_x": x.grid.scale,
            "o_bits": output.bits,
            "scale_o": output.scale,
            "quant_mode": self.round_mode(node),
        }


def place_in_code(node: Node) -> str:
    """A step by its name, its operator and its line, as messages begin."""
    where = f" at {node.source}" if node.source else ""
    op = node.primitive if node.kind == MOVED else node.op
    return f"{node.label} ({op}){where}"


def _same_order(value: TensorValue, axes: Axes) -> bool:
    """Whether two orders differ at most in where axes of length one stand: then the elements lie alike.

    Only an order with every axis at its place keeps the tensor's shape, so lengths must agree too.
    """
    return value.axes == axes or (
        [a for a in value.axes if value.shape[a] != 1] == [a for a in axes if value.shape[a] != 1]
        and tuple(value.shape[a] for a in value.axes) == tuple(value.shape[a] for a in axes)
    )


def stored(values: HostArray, bits: int) -> HostArray:
    """Integers in the storage of their width."""
    return values.astype(integer_type(bits))

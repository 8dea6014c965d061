"""From matched tensors to the values of variables: shapes checked first, then converted one by one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from linger_jax.converters.files import TorchState
from linger_jax.converters.layout import FeatureOrders
from linger_jax.converters.match.matching import How, Matching
from linger_jax.converters.model import ModelInventory, free_conversion
from linger_jax.converters.report import ImportProblems, ImportRow
from linger_jax.converters.weights import leaf_rules
from linger_jax.errors import ConversionError
from linger_jax.typing import HostArray, Path


@dataclasses.dataclass(frozen=True, eq=False)
class Conversion:
    """One tensor on its way into one variable, or into its slice for one iteration of a scan.

    Attributes:
      plus: key of a tensor that is added first.
      layer: path of the layer; None for a variable of no layer.
      module: prefix of the module in the checkpoint, where the layer was paired with one as a whole.
    """

    key: str
    path: Path
    iteration: int | None
    shape: tuple[int, ...]
    to_flax: Callable[[HostArray], HostArray]
    transform: str
    how: How
    plus: str | None = None
    layer: Path | None = None
    module: str | None = None


def conversions(
    state: TorchState, inventory: ModelInventory, found: Matching, orders: FeatureOrders, problems: ImportProblems
) -> list[Conversion]:
    """What to convert, in the order of the checkpoint; shapes that do not fit become problems."""
    result = []
    for layer in inventory.layers:
        matched = found.layers.get((layer.path, layer.iteration), {})
        rules = leaf_rules(layer, orders.inputs.get(layer.path), orders.outputs.get(layer.path))
        for role, (key, how) in matched.items():
            rule, variable = rules[role], layer.variables[role]
            plus = found.plus.get((layer.path, layer.iteration, role))
            if rule.accepts(state.shape(key)) and (plus is None or rule.accepts(state.shape(plus))):
                step = Conversion(
                    key,
                    variable.path,
                    layer.iteration,
                    variable.shape,
                    rule.to_flax,
                    rule.transform,
                    how,
                    plus,
                    layer.path,
                )
                result.append(dataclasses.replace(step, module=found.modules.get((layer.path, layer.iteration))))
            else:
                name = ".".join(variable.path) + ("" if layer.iteration is None else f"[{layer.iteration}]")
                problems.add_conflict(key, state.shape(key), name, rule.shape, variable.shape)
    for path, (key, how) in found.free.items():
        shape = inventory.free[path]
        product, order = path in orders.products, orders.parameters.get(path)
        if order is not None and order.index is None:
            problems.add_text(f"{'.'.join(path)} is combined with features whose order cannot be told: {order.doubt}")
        made = free_conversion(key, state.shape(key), shape, product=product, order=order)
        if made is None:
            problems.add_conflict(key, state.shape(key), ".".join(path), shape, shape)
        else:
            result.append(Conversion(key, path, None, shape, *made, how))
    places = {key: i for i, key in enumerate(state.tensors)}
    return sorted(result, key=lambda conversion: places[conversion.key])


def row_of(step: Conversion, shape: tuple[int, ...], dtype: str | None) -> ImportRow:
    """A line of the report: shape of the tensor, and its dtype where that is not float32."""
    name = ".".join(step.path) + ("" if step.iteration is None else f"[{step.iteration}]")
    layer = None if step.layer is None else ".".join(step.layer)
    row = ImportRow(step.key, name, shape, step.shape, step.transform, step.how, dtype)
    return dataclasses.replace(row, plus=step.plus, module=step.module, layer=layer)


def fill(
    state: TorchState,
    planned: list[Conversion],
    wanted: Mapping[Path, jax.ShapeDtypeStruct],
    problems: ImportProblems,
) -> tuple[dict[Path, jax.Array], list[ImportRow]]:
    """Converts; tensors whose values cannot be used become problems.

    Args:
      state: the checkpoint.
      planned: what to convert.
      wanted: shape and dtype of every variable.
      problems: takes the tensors that cannot be used.
    """
    values: dict[Path, jax.Array] = {}
    stacks: dict[Path, HostArray] = {}
    rows = []
    uses = Counter(key for step in planned for key in (step.key, step.plus) if key is not None)
    for key in state.tensors:
        if key not in uses:
            state.release(key)
    for step in planned:
        try:
            array, dtype = state.array(step.key)
        except ConversionError as error:
            problems.add_text(str(error))
            continue
        if step.plus is not None:
            array = array + state.array(step.plus)[0]
        target = wanted[step.path].dtype
        if array.dtype.kind in "iub" and jnp.issubdtype(target, jnp.floating):
            problems.add_text(f"{step.key} holds {array.dtype} where {'.'.join(step.path)} takes real numbers")
            continue
        converted = step.to_flax(array)
        if step.iteration is None:
            values[step.path] = jnp.array(converted, dtype=target)  # a copy: the checkpoint may change
        else:
            stack = stacks.setdefault(step.path, np.zeros(wanted[step.path].shape, converted.dtype))
            stack[step.iteration] = converted
        rows.append(row_of(step, tuple(array.shape), dtype))
        del array, converted
        for key in filter(None, (step.key, step.plus)):
            uses[key] -= 1
            if uses[key] == 0:
                state.release(key)
    filled = Counter(step.path for step in planned)
    for path in [path for path in stacks if filled[path] == wanted[path].shape[0]]:
        values[path] = jnp.array(stacks.pop(path), dtype=wanted[path].dtype)
    return values, rows

"""Making primitives of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax.extend.core import Primitive as Primitive
from jax.interpreters import ad, batching, mlir

Run = Callable[..., list[Any]]
Differentiate = Callable[..., tuple[list[Any], list[Any]]]
Batch = Callable[..., tuple[list[Any], list[int | None]]]


def new_primitive(
    name: str,
    run: Run,
    types: Callable[..., Sequence[Any]],
    *,
    jvp: Differentiate | None = None,
    batch: Batch | None = None,
) -> Primitive:
    """A primitive with several results.

    Args:
      name: as it stands in a jaxpr.
      run: ``(*operands, **params)``: its results, computed with other primitives.
      types: ``(*operand types, **params)``: the types of its results.
      jvp: ``(primals, tangents, **params)``: results and their tangents. A tangent that is known to be zero comes as an
        array of zeros.
      batch: ``(operands, axes, **params)``: results and their batch axes. The axis of an operand without one is None.
    """
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_impl(run)
    primitive.def_abstract_eval(types)
    mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=True))
    if jvp is not None:

        def differentiate(primals: Sequence[Any], tangents: Sequence[Any], **params: Any) -> Any:
            return jvp(list(primals), [ad.instantiate_zeros(t) for t in tangents], **params)

        ad.primitive_jvps[primitive] = differentiate
    if batch is not None:

        def vectorize(operands: Sequence[Any], axes: Sequence[Any], **params: Any) -> Any:
            return batch(list(operands), [axis if isinstance(axis, int) else None for axis in axes], **params)

        batching.primitive_batchers[primitive] = vectorize
    return primitive

"""Calibration: the reference's one-batch switch, and any number of batches with a progress bar."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.progress import track

from linger_jax.api.batches import arguments_of_batch
from linger_jax.api.calibration_context import calibrating
from linger_jax.api.quantized_model import QuantizedModel
from linger_jax.api.remarks import warn_of_cut_biases, with_cuts_told
from linger_jax.errors import LingerError
from linger_jax.typing import Tree


@contextlib.contextmanager
def calibration() -> Iterator[None]:
    """Within this context ``apply`` calibrates instead of quantizing (docs/specification/config.md section 4).

    The pass computes in float; each quantizer records its statistic. ``apply`` returns ``(output, updates)`` with both
    ``quant`` and ``params`` in ``updates``, because thresholds and clamped weights are parameters. A second pass over
    calibrated quantizers is refused; for several batches use ``calibrate``. A function under ``jax.jit`` is
    traced again inside the context.

    The context holds for the code inside it alone: not for other threads, for other asyncio tasks while this one waits,
    or for those who iterate over a generator that yields inside it.
    """
    with calibrating():
        yield


def calibrate(
    qmodel: QuantizedModel,
    variables: Mapping[str, Any],
    batches: Iterable[Any],
    *,
    rngs: Any = None,
    method: Any = None,
    progress: bool = True,
    **kwargs: Any,
) -> Tree:
    """Calibrates on any number of batches.

    The batches count as one (docs/decisions.md D25): how the data is split into them decides nothing.

    Args:
      qmodel: the quantized model.
      variables: its variables; they are not changed.
      batches: each an array or a list of numbers (the model's one input), a tuple or a list of arrays (positional
        arguments) or a mapping (keyword arguments).
      rngs, method, **kwargs: passed to every call, for example ``train=False``.
      progress: whether to show a progress bar.

    Returns:
      New variables: scales, thresholds and clamped weights.

    Raises:
      LingerError: no batch, an empty batch, NaN or infinity in the data (naming the quantizer), or quantizers that are
        calibrated already. Nothing is changed then.

    Warns:
      LingerWarning: layers whose clamps cut more than 0.1 % of their values, or whose values linger's clamps would cut
        where no ``clamp_info`` is named (docs/decisions.md D26); biases beyond their width.
    """
    result: Tree = dict(variables)
    seen: dict[Any, Any] = {}
    args: Any = None
    for batch in track(batches, "calibrating", disable=not progress, transient=True):
        args, named = arguments_of_batch(batch)
        updates, seen = qmodel.calibration_pass(result, args, {**kwargs, **named}, rngs=rngs, method=method, seen=seen)
        result = {**result, **updates}
    if args is None:
        raise LingerError("calibrate: there was no batch")
    plan = qmodel.plan_of_call(result, args, {**kwargs, **named}, rngs, method, mutable=["quant"])
    result = with_cuts_told(plan, variables, result, seen, stacklevel=2)
    warn_of_cut_biases(plan, result, _CUT, stacklevel=2)
    return result


_CUT = (
    "No scale of the weights is small enough, so they are cut. Give these layers inputs of a larger range, a smaller "
    "bias, or more bias_bits"
)

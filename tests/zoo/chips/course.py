"""From a float network to the executor's integers: three steps of training, a strict export, the packer, 20 inputs."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linger_jax
from linger_jax.errors import LingerError
from tests.equality.device.files import Integers
from tests.equality.device.judging import compared
from tests.equality.device.simulator import Device
from tests.models import drawn
from tests.zoo.chips.networks import Network

STEPS, BATCH, INPUTS = 3, 4, 20
_RATE = 1e-2


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a network on a chip.

    Attributes:
      outcome: ``equal``, ``refused``, or what is wrong.
      message: in words, where there are any.
      nodes: of the file; 0 where there is none.
      distinct: how many integers the first output takes on the inputs.
    """

    outcome: str
    message: str = ""
    nodes: int = 0
    distinct: int = 0


def taken(network: Network, platform: str, device: Device) -> Result:
    """Takes a network to a chip.

    Args:
      network: the network.
      platform: the chip.
      device: packer and executor.
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        qmodel, variables, evaluate = trained(network, platform)
        inputs = np.random.default_rng(1).normal(0, 1, (INPUTS, *network.shape)).astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            try:
                linger_jax.export_onnx(qmodel, variables, inputs[:1], path, train=False)
            except LingerError as error:
                return Result("refused", str(error))
            return _run(path, inputs, np.asarray(evaluate(variables, inputs)), device)


def _run(path: Path, inputs: Any, evaluated: Any, device: Device) -> Result:
    integers = Integers(path, (inputs,))
    outputs, nodes = integers.outputs, len(integers.nodes)
    wanted = integers.of(outputs)
    scale = integers.scale(outputs[0])
    ran = np.concatenate([values[outputs[0]] for values in wanted])
    evaluated = np.moveaxis(evaluated, -1, 1) if evaluated.ndim > 2 else evaluated
    if scale is None or not np.array_equal(ran, np.rint(evaluated.reshape(ran.shape) * scale)):
        return Result("runner and evaluation differ", nodes=nodes)
    wrong = compared(device.run(path, integers.fed(), len(outputs)), integers, outputs)
    outcome, message = wrong or ("equal", "")
    return Result(outcome, message, nodes, int(np.unique(ran).size))


def trained(network: Network, platform: str) -> tuple[linger_jax.QuantizedModel, Any, Callable[[Any, Any], Any]]:
    """The model, its variables after calibration and training, and its compiled evaluation."""
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (BATCH, *network.shape)).astype(np.float32)
    qmodel = linger_jax.init(network.model, {"platform": platform, "quant_info": {**network.info}})
    variables = qmodel.adopt(drawn(network.model, x), x, train=False)
    variables = linger_jax.calibrate(qmodel, variables, [(x,)], progress=False, train=False)
    rest = dict(variables)
    params = rest.pop("params")

    @jax.jit
    def step(params: Any, rest: Any) -> Any:
        def loss(params: Any) -> Any:
            y, updates = qmodel.apply({"params": params, **rest}, x, train=True, mutable=[*rest])
            return jnp.mean(jnp.square(y - jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))), updates

        slopes, updates = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - _RATE * g, params, slopes), updates

    for _ in range(STEPS):
        params, rest = step(params, rest)
    evaluate = jax.jit(lambda variables, x: qmodel.apply(variables, x, train=False))
    return qmodel, {"params": params, **rest}, evaluate

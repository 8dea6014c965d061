"""The stages of the demo, one function each: what a user of linger_jax does with a pretrained PyTorch model."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.progress import track

import linger_jax
from linger_jax import converters
from linger_jax.atomic_file import write_file
from linger_jax.cli.demo.checkpoint import require_equal, restore_training_state, save_training_state
from linger_jax.cli.demo.digits import BATCH_SIZE, Digits
from linger_jax.cli.demo.flax_network import DigitClassifier
from linger_jax.cli.demo.measures import exponents, float_kib, quantized_kib
from linger_jax.cli.demo.results import Stage
from linger_jax.cli.demo.torch_network import DigitNet, evaluate_torch, predict_torch, train_torch
from linger_jax.cli.demo.training import evaluate, falling_rate, predict, train, variables_of
from linger_jax.converters.files import write_torch_file
from linger_jax.errors import LingerError
from linger_jax.typing import Variables

_TOLERANCE = 1e-5
_CALIBRATION_BATCHES = 8
_WEIGHT_RATE = 1e-3
_THRESHOLD_RATE = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What all stages share.

    Attributes:
      digits: the data.
      seed: of weights and data order.
      out: folder for files; it exists.
      console: where progress is shown.
      pretraining, fine_tuning, quantized: epochs of each kind of training. They are fixed beforehand: the last
        epoch counts, whatever the validation or test split says.
    """

    digits: Digits
    seed: int
    out: Path
    console: Console
    pretraining: int = 20
    fine_tuning: int = 3
    quantized: int = 12

    def epochs(self, count: int, stage: str) -> Iterable[int]:
        """Epoch numbers that draw a progress bar while they are consumed."""
        return track(range(count), f"{stage:<20}", console=self.console)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantized:
    """A quantized model after both of its stages.

    Attributes:
      model: it.
      variables: trained.
      folder: of its files.
      calibrated, trained: what is told of the stages.
    """

    model: linger_jax.QuantizedModel
    variables: Variables
    folder: Path
    calibrated: Stage
    trained: Stage


def pretrain(setting: Setting) -> tuple[DigitNet, Stage]:
    """Train in PyTorch and save ``float.pt``."""
    name, start = "float, PyTorch", time.perf_counter()
    count = setting.pretraining
    network, curves = train_torch(setting.digits, epochs=setting.epochs(count, name), count=count, seed=setting.seed)
    write_torch_file(setting.out / "float.pt", network.state_dict())
    accuracy = evaluate_torch(network, setting.digits.test)
    kib = float_kib({key: value.numpy() for key, value in network.state_dict().items() if value.ndim})
    return network, Stage(name=name, accuracy=accuracy, kib=kib, seconds=time.perf_counter() - start, curves=curves)


def import_checkpoint(setting: Setting, network: DigitNet) -> tuple[Variables, Stage]:
    """Read ``float.pt`` into the Flax model and compare both on the test images.

    Args:
      setting: of the demo.
      network: the trained PyTorch model, to compare with.

    Raises:
      LingerError: the outputs of the two models differ by more than 1e-5.
    """
    name, start = "float, Flax", time.perf_counter()
    model, images = DigitClassifier(), setting.digits.test.images
    variables, report = converters.from_torch(setting.out / "float.pt", model, images[:1])
    write_file(setting.out / "import.txt", str(report))
    difference = float(np.max(np.abs(predict(model, variables, images) - predict_torch(network, images))))
    if difference > _TOLERANCE:
        raise LingerError(
            f"the imported Flax model and PyTorch differ by {difference:.1e} in {setting.out / 'float.pt'}; "
            f"allowed is {_TOLERANCE:.0e}"
        )
    setting.console.print(
        f"float.pt into Flax: {report.summary}; outputs differ by at most {difference:.1e}", highlight=False
    )
    accuracy = evaluate(model, variables, setting.digits.test)
    return variables, Stage(name=name, accuracy=accuracy, kib=float_kib(variables), seconds=time.perf_counter() - start)


def constrain(setting: Setting, variables: Variables) -> tuple[Variables, Stage]:
    """Fine-tune with clipped weights and outputs, so that a few extreme values do not decide the scales."""
    name, start = "constrained", time.perf_counter()
    model = linger_jax.constrain(DigitClassifier())
    adopted = model.adopt(variables, setting.digits.train.images[:BATCH_SIZE])
    count = setting.fine_tuning
    state, curves = train(
        model,
        adopted,
        setting.digits,
        falling_rate(count, setting.digits, _WEIGHT_RATE, _THRESHOLD_RATE),
        epochs=setting.epochs(count, name),
        key=jax.random.key(setting.seed),
    )
    accuracy = evaluate(model, variables_of(state), setting.digits.test)
    return variables_of(state), Stage(
        name=name,
        accuracy=accuracy,
        kib=float_kib(variables),
        seconds=time.perf_counter() - start,
        curves=curves,
    )


def quantize(setting: Setting, config: linger_jax.QuantConfig, variables: Variables) -> Quantized:
    """Calibrate a model, then train it; its configuration, plan and training state go to a folder of its own.

    Args:
      setting: of the demo.
      config: how to quantize.
      variables: of the constrained model.

    Returns:
      The model, calibrated (PTQ) and trained (QAT), both evaluated with stored scales.
    """
    info, digits, start = config.quant_info, setting.digits, time.perf_counter()
    bits = f"W{info.weight_bits}A{info.activate_bits}"
    folder = setting.out / f"{bits}-{info.qat_method.name}".lower()
    linger_jax.config_save_to_yaml(folder / "config.yaml", config)

    model = linger_jax.init(DigitClassifier(), config)
    images = digits.train.images[: _CALIBRATION_BATCHES * BATCH_SIZE].reshape(
        -1, BATCH_SIZE, *digits.train.images.shape[1:]
    )
    adopted = model.adopt(variables, images[0])
    calibrated = linger_jax.calibrate(model, adopted, list(images), progress=False)
    plan = model.plan(calibrated, images[0])
    write_file(folder / "plan.txt", str(plan))
    after_calibration = Stage(
        name=f"PTQ {bits}",
        accuracy=evaluate(model, calibrated, digits.test),
        kib=quantized_kib(plan, calibrated),
        seconds=time.perf_counter() - start,
        exponents=exponents(plan, calibrated),
    )

    name, start = f"QAT {bits} {info.qat_method.name}", time.perf_counter()
    count = setting.quantized
    state, curves = train(
        model,
        calibrated,
        digits,
        falling_rate(count, digits, _WEIGHT_RATE, _THRESHOLD_RATE),
        epochs=setting.epochs(count, name),
        key=jax.random.key(setting.seed),
    )
    save_training_state(folder / "checkpoint", state)
    restored = restore_training_state(folder / "checkpoint", state)
    require_equal(restored, state, folder / "checkpoint")
    trained = variables_of(restored)
    after_training = Stage(
        name=name,
        accuracy=evaluate(model, trained, digits.test),
        kib=quantized_kib(plan, trained),
        seconds=time.perf_counter() - start,
        curves=curves,
        exponents=exponents(plan, trained),
    )
    return Quantized(
        model=model, variables=trained, folder=folder, calibrated=after_calibration, trained=after_training
    )

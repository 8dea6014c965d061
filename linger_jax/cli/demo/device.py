"""The last stage of the demo: the trained model as a file, run in integers, checked for the chip, and packed for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import linger_jax
from linger_jax.cli.demo.digits import Split
from linger_jax.cli.demo.training import Model, predict
from linger_jax.errors import LingerError, PackError
from linger_jax.export.packing import find_packer


def export_and_run(model: Model, variables: Mapping[str, Any], test: Split, folder: Path, console: Console) -> None:
    """Writes ``digits.onnx``, compares the file with evaluation on the test images, and packs it if there is a packer.

    Args:
      model: the quantized model.
      variables: trained.
      test: images and labels.
      folder: for the file and the package.
      console: where to print.

    Raises:
      LingerError: the file computes other numbers than evaluation, or the chip would refuse it.
    """
    path = linger_jax.export_onnx(model, variables, test.images[:1], folder / "digits.onnx")  # type: ignore[arg-type]
    (logits,) = linger_jax.OnnxRunner(path).run(np.moveaxis(test.images, -1, 1))
    if not np.array_equal(logits, predict(model, variables, test.images)):
        raise LingerError(f"{path}: run in integers, it computes other numbers than evaluation")
    accuracy = 100 * float(np.mean(np.argmax(logits, axis=-1) == test.labels))
    report = linger_jax.check_onnx(path)
    console.print(
        f"{path}: {path.stat().st_size / 1024:.1f} KiB; run in integers it equals evaluation bit for bit on all "
        f"{len(test)} test images ({accuracy:.2f} %).\nDevice check: {report.summary()}.",
        highlight=False,
        soft_wrap=True,
    )
    try:
        find_packer()
    except PackError:
        console.print("No tpacker found; `make pack-env` installs it, then: linger-jax pack", path, soft_wrap=True)
        return
    packed = linger_jax.pack(path, folder / "digits.pkg")
    console.print(packed.table())
    console.print(f"{packed.path}: {packed.summary}.", highlight=False, soft_wrap=True)

"""The demo from beginning to end."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

from rich.console import Console

import linger_jax
from linger_jax.atomic_file import write_file
from linger_jax.cli.demo.device import export_and_run
from linger_jax.cli.demo.digits import load_digits
from linger_jax.cli.demo.picture import draw
from linger_jax.cli.demo.results import Stage, results_table
from linger_jax.cli.demo.stages import Setting, constrain, import_checkpoint, pretrain, quantize
from linger_jax.errors import FileError
from linger_jax.file_errors import make_folder

_CLAMPS = linger_jax.ClampInfo()
"""Those that the constrained stage trains with."""
_CONFIGS = (
    linger_jax.QuantConfig(clamp_info=_CLAMPS, quant_info={"qat_method": "MOM"}),
    linger_jax.QuantConfig(clamp_info=_CLAMPS, quant_info={"qat_method": "TQT"}),
    linger_jax.QuantConfig(clamp_info=_CLAMPS, quant_info={"qat_method": "MOM", "weight_bits": 4}),
)
_ONTO_THE_CHIP = _CONFIGS[1]
"""The one that is exported; ``quick`` runs it alone."""


def run_demo(out: Path, *, seed: int, quick: bool, console: Console) -> list[Stage]:
    """Run every stage, print the table and write the files.

    Args:
      out: folder for the files; made if it is not there.
      seed: of everything random: the same seed gives the same numbers on the same machine.
      quick: one epoch a stage, and TQT only.
      console: where to print.

    Raises:
      FileError: the folder or a file in it cannot be written.
      LingerError: a check failed: imported outputs that differ, a checkpoint that comes back changed, an exported file
        that computes other numbers.
    """
    start = time.perf_counter()
    make_folder(out)
    if not os.access(out, os.W_OK):
        raise FileError(f"{out}: cannot be written (no permission for this folder); name another")
    epochs = {"pretraining": 1, "fine_tuning": 1, "quantized": 1} if quick else {}
    setting = Setting(digits=load_digits(seed), seed=seed, out=out, console=console, **epochs)

    configs = (_ONTO_THE_CHIP,) if quick else _CONFIGS
    network, pretrained = pretrain(setting)
    variables, imported = import_checkpoint(setting, network)
    variables, constrained = constrain(setting, variables)
    stages = [pretrained, imported, constrained]
    for config in configs:
        quantized = quantize(setting, config, variables)
        # Calibration is the same for MOM and TQT: one line is enough.
        known = any(stage.name == quantized.calibrated.name for stage in stages)
        stages += [quantized.trained] if known else [quantized.calibrated, quantized.trained]
        if config is _ONTO_THE_CHIP:
            exported = quantized

    picture, results = out / "demo.png", out / "results.json"
    draw(stages, picture)
    write_file(results, json.dumps([dataclasses.asdict(stage) for stage in stages], indent=1))
    console.print(results_table(stages, reference=imported))
    export_and_run(exported.model, exported.variables, setting.digits.test, exported.folder, console)
    console.print(
        f"Each training state was saved, reloaded and found equal bit for bit: {out}/*/checkpoint.\n"
        f"Curves and scales: {picture}. Numbers: {results}.\n"
        f"Everything took {time.perf_counter() - start:.0f} s.",
        highlight=False,
        soft_wrap=True,
    )
    return stages

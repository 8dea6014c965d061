"""The demo's picture: how training went, and which Q-format every tensor ended with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from linger_jax.atomic_file import atomic_file
from linger_jax.cli.demo.results import Stage

# Okabe and Ito's palette: told apart with every kind of colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INK, _FAINT, _UNTRAINED = "#222222", "#dddddd", "#888888"
_DARK = 0.6
_CURVE = {"linewidth": 1.8, "marker": "o", "markersize": 3}
# A dashed curve lets the one below it be seen: stages often lie on each other.
_DASHES: tuple[Any, ...] = ("-", (0, (4, 3)))
_LOWEST_ACCURACY = 90.0
_WEIGHT = "weight_quantizer"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def draw(stages: Sequence[Stage], path: Path) -> None:
    """Write the picture as PNG.

    Args:
      stages: of the demo, in order; those without training have no curve, those without quantizers no scales.
      path: the file.
    """
    with mpl.rc_context(_STYLE), atomic_file(path) as stream:
        figure: Any = Figure(figsize=(15, 12), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        top, bottom = figure.subfigures(2, 1, height_ratios=(4.3, 7.7), hspace=0.04)
        _draw_training(top, stages)
        _draw_scales(bottom, [stage for stage in stages if stage.exponents])
        figure.savefig(stream, format="png", dpi=110)


def _draw_training(figure: Any, stages: Sequence[Stage]) -> None:
    """Loss and validation accuracy of each epoch, and the test accuracy of each stage."""
    loss, accuracy, test = figure.subplots(1, 3, width_ratios=(1, 1, 1))
    trained = [stage for stage in stages if stage.curves.loss]
    colours = dict(zip((stage.name for stage in trained), _COLOURS, strict=False))
    for stage, dashes in zip(trained, itertools.cycle(_DASHES)):
        epochs = np.arange(1, len(stage.curves.loss) + 1)
        style = {"color": colours[stage.name], "label": stage.name, "linestyle": dashes, **_CURVE}
        loss.plot(epochs, stage.curves.loss, **style)
        accuracy.plot(epochs, stage.curves.accuracy, **style)
    loss.set(title="Training loss", yscale="log", xlabel="epoch of the stage")
    loss.legend(frameon=False, fontsize=9)
    accuracy.set(title="Validation accuracy, %", xlabel="epoch of the stage")
    # The first epochs from scratch would leave no room for the rest.
    accuracy.set_ylim(max(accuracy.get_ylim()[0], _LOWEST_ACCURACY), 100.4)
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _draw_test_accuracy(test, stages, colours)
    for axes in (loss, accuracy, test):
        axes.grid(color=_FAINT, linewidth=0.7)
        axes.set_axisbelow(True)


def _draw_test_accuracy(axes: Any, stages: Sequence[Stage], colours: dict[str, str]) -> None:
    rows = np.arange(len(stages))
    for row, stage in zip(rows, stages, strict=True):
        colour = colours.get(stage.name, _UNTRAINED)
        axes.plot(stage.accuracy, row, "o", color=colour, markersize=9)
        axes.annotate(
            f"{stage.accuracy:.2f} %,  {stage.kib:.0f} KiB",
            (stage.accuracy, row),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
        )
    axes.set_yticks(rows, [stage.name for stage in stages])
    axes.set_ylim(len(stages) - 0.5, -0.8)
    axes.margins(x=0.25)
    axes.set_title("Test accuracy and size")
    axes.tick_params(axis="y", length=0)


def _draw_scales(figure: Any, stages: Sequence[Stage]) -> None:
    """One number a tensor and stage: its fractional bits."""
    quantizers = list(stages[0].exponents)
    weights = [name for name in quantizers if name.endswith(_WEIGHT)]
    activations = [name for name in quantizers if not name.endswith(_WEIGHT)]
    left, right = figure.subplots(1, 2)
    _heat_map(left, "Fractional bits of the weights", stages, weights)
    _heat_map(right, "Fractional bits of the activations", stages, activations)


def _heat_map(axes: Any, title: str, stages: Sequence[Stage], quantizers: Sequence[str]) -> None:
    grid = np.array([[stage.exponents[name] for stage in stages] for name in quantizers])
    image = axes.imshow(grid, cmap="GnBu", aspect="auto")
    image.set_clim(grid.min() - 1, grid.max() + 1)
    for (row, column), exponent in np.ndenumerate(grid):
        dark = image.norm(exponent) > _DARK
        axes.text(column, row, str(exponent), ha="center", va="center", color="white" if dark else _INK)
    axes.set_title(title, pad=12)
    axes.set_xticks(range(len(stages)), [stage.name.replace(" ", "\n", 1) for stage in stages])
    axes.set_yticks(range(len(quantizers)), [_label(name) for name in quantizers])
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xticks(np.arange(1, len(stages)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(quantizers)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)


def _label(quantizer: str) -> str:
    """``block_1._linger_qtensor_qadd_0.output_quantizer`` as ``block_1.add_0``; an input says that it is one."""
    text = quantizer.replace("_linger_qtensor_q", "").replace("_linger_", "")
    layer, _, role = text.rpartition(".")
    return f"{layer} (input)" if role == "input_quantizer" else layer

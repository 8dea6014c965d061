"""What is known of any kind of step that a plan names: a layer, an operator, a step that hands a grid on."""

from __future__ import annotations

import dataclasses
import enum


class ImageUse(enum.Enum):
    """What a step wants of a value that may be an image: whether the file's tensor lies channels-first."""

    reads = "reads"
    """It reads channels-first, whatever the rank."""
    reads_planes = "reads planes"
    """It reads channels-first where the value has two spatial axes; otherwise its result lies like its operand."""
    by_its_axes = "by its axes"
    """Its own computation says which axis it takes for channels."""
    keeps = "keeps"
    """Its result lies like its operand: what a later step reads decides."""
    none = "none"
    """It reads Flax's order of axes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileForm:
    """How a kind of step stands in a file. Reader: export/lower/lower_graph.py.

    Attributes:
      image: how it reads and leaves images.
      keeps_flat_order: it works on each element by itself, so that features flattened channels-first may pass it on
        their way to a Dense.
      takes_floats: its node takes floats as well as integers.
      refused_because: why a file cannot hold it, as a sentence for the user; None where export/lower has a rule, or
        where it never comes to that.
    """

    image: ImageUse
    keeps_flat_order: bool
    takes_floats: bool
    refused_because: str | None


IN_FLAX_ORDER = FileForm(image=ImageUse.none, keeps_flat_order=False, takes_floats=False, refused_because=None)
OF_IMAGES = dataclasses.replace(IN_FLAX_ORDER, image=ImageUse.reads)
OF_TWO_VALUES = dataclasses.replace(IN_FLAX_ORDER, image=ImageUse.keeps)
OF_EACH_ELEMENT = dataclasses.replace(OF_TWO_VALUES, keeps_flat_order=True)
OF_EACH_NUMBER = dataclasses.replace(OF_EACH_ELEMENT, takes_floats=True)
"""Of each element, be it an integer or a float."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """The columns that every kind has. None has a default: a new kind says all of it.

    Attributes:
      name: in messages, and of its state where it is an operator.
      nodes: names that nodes of the plan have for it. Reader: ``Node.kind``.
      passes: it hands the grid of its operand on, so that the coverage table says "passes". Readers:
        plan/coverage_table.py, plan/decide/concat_ties.py, converters/model/model_inventory.py.
      file: how it stands in a file.
    """

    name: str
    nodes: tuple[str, ...]
    passes: bool
    file: FileForm

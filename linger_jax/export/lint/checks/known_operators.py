"""Refuses operators that the packer does not know (docs/specification/onnx_export.md section 4.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from linger_jax.export.lint.checks.check import Check
from linger_jax.export.lint.finding import Problem, Severity
from linger_jax.export.lint.node_view import NodeView
from linger_jax.export.lint.operator_names import LINGER_PREFIX, operator_names
from linger_jax.export.lint.program import Program

RENAME = "rename_unmapped_ops"
AS_2D = "one_dimension_as_two"
THINKER = "Export with dialect='thinker'"


@dataclasses.dataclass(frozen=True)
class Refused:
    """An operator that the packer stops at.

    Attributes:
      why: what the packer lacks.
      remedy: what to do.
      edit: rewrite of the dialect ``thinker``, where one helps.
    """

    why: str
    remedy: str
    edit: str = ""


REFUSED: Mapping[str, Refused] = {
    "QLayerNorm": Refused(
        "the packer has no translation of this name; LayerNormInt packs, but computes other integers",
        "Keep the layer off the chip, or use BatchNorm in its place",
    ),
    "QMatmul": Refused("the packer has no translation of this name", f"{THINKER}: it writes BmmInt", RENAME),
    "QGLU": Refused("the packer has no translation of this name", f"{THINKER}: it writes GluInt", RENAME),
    "QGelu": Refused("the packer has no such operator", "Use relu in the model's place of gelu"),
    "QSwish": Refused("the packer has no such operator", "Use relu in the model's place of silu"),
    "QGlobalAveragePool2d": Refused(
        "the packer has no translation of this name",
        f"{THINKER}: it writes an average pool over the whole plane",
        "global_pool_as_window",
    ),
    "QConvTranspose1d": Refused("transposed convolutions are 4-D", f"{THINKER}: it writes the 2-D form", AS_2D),
    "QBatchNorm1d": Refused("batch normalization is 4-D", f"{THINKER}: it writes the 2-D form", AS_2D),
    "QAvgPool1d": Refused("average pooling is 4-D", f"{THINKER}: it writes the 2-D form", AS_2D),
    "Clip": Refused(
        "the packer's test of its element type cannot succeed",
        f"{THINKER}: a relu6 becomes saturation; use relu in the place of other clips",
        "clip_by_saturation",
    ),
    "Split": Refused(
        "the packer wants an attribute dims in the place of split, and fails on it",
        f"{THINKER}: it writes slices",
        "split_as_slices",
    ),
    "Pad": Refused(
        "the packer refuses Pad",
        f"{THINKER}: zeros in front of a convolution become its padding; pad other tensors in a layer",
        "pad_in_convolution",
    ),
    "Cast": Refused("the packer fails when it writes one", "Remove the cast: give the file what it needs"),
    "Identity": Refused("the packer has no Identity", f"{THINKER}: it drops the node", "drop_identity"),
}
_FLOAT = Refused(
    "no device computes it, in float least of all",
    "Quantize what makes it: concatenations, sums and products have quantized forms (QCat, QAdd, QMul)",
)


def _known(view: NodeView, program: Program) -> Iterator[Problem]:
    row = REFUSED.get(view.written)
    if row is None and not operator_names().takes(view.written, program.device):
        row = _FLOAT
    if row is not None:
        yield Problem(severity=Severity.refuse, found=view.node.op, limit=row.why, remedy=row.remedy, edit=row.edit)


def _float_function(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    if not view.node.op.startswith(LINGER_PREFIX):
        yield Problem(
            severity=Severity.differs,
            found=f"{view.written} of floats",
            limit="quantized forms; float ones pack, and are not measured",
            remedy="Quantize it: name no part of it in disable_module or disable_submodel",
        )


def _one_input(view: NodeView, program: Program) -> Iterator[Problem]:
    del program
    given = [t for t in view.inputs if t is not None]
    if len(given) > 1:
        yield Problem(
            severity=Severity.refuse,
            found=f"{len(given)} inputs: axes as an input, the form of opset 13 and later",
            limit="axes as an attribute",
            remedy="Export with opset=12, or with dialect='thinker'",
            edit="axes_as_attributes",
        )


CHECKS = (
    Check("operator", _known),
    Check("float function", _float_function, {"Sigmoid", "Tanh"}),
    Check("axes form", _one_input, {"Squeeze", "Unsqueeze"}),
)

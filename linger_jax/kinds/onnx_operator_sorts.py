"""What operators of one sort share: a row of the table says only what is peculiar to it."""

from __future__ import annotations

from linger_jax.kinds.onnx_operator import LINGER, Family, OnnxOperator, Packing, Refusal, Role

_ON_OUTPUT = ("scale_o", "o_bits")

# --- what the packer makes of a name (docs/specification/onnx_export.md section 4.1) --------------------------------

TAKEN = Packing(name=None, takes_name=True, refusal=None)
"""The packer takes the name, and has none of its own."""


def translated(name: str) -> Packing:
    """The packer takes linger's name for its own."""
    return Packing(name=name, takes_name=True, refusal=None)


def untranslated(name: str, refusal: Refusal) -> Packing:
    """The packer knows the operator by its own name alone."""
    return Packing(name=name, takes_name=False, refusal=refusal)


def refused(refusal: Refusal) -> Packing:
    """The packer stops at the operator."""
    return Packing(name=None, takes_name=False, refusal=refusal)


# --- what operators of a sort share ---------------------------------------------------------------------------------


def quantized(
    name: str,
    family: Family,
    *inputs: Role,
    packing: Packing,
    differs_between_chips: bool,
    pointwise: bool,
    variadic: bool = False,
    ranks: tuple[int, ...] = (),
    needs_rounding: bool = False,
    first_sample_only: bool = False,
    plane_form: OnnxOperator | None = None,
    same_as: OnnxOperator | None = None,
    exported: bool = True,
) -> OnnxOperator:
    """An operator of integers whose result has a grid of its own."""
    return OnnxOperator(
        name=name,
        domain=LINGER,
        family=family,
        inputs=inputs,
        variadic=variadic,
        ranks=ranks,
        result_grid=_ON_OUTPUT,
        passes_grid=False,
        moves=False,
        reshapes=False,
        pointwise=pointwise,
        differs_between_chips=differs_between_chips,
        states_platform=True,
        states_rounding=True,
        needs_rounding=needs_rounding,
        first_sample_only=first_sample_only,
        plane_form=plane_form,
        same_as=same_as,
        axes_attribute=None,
        packing=packing,
        exported=exported,
        not_run="",
    )


def convolution(
    name: str,
    family: Family,
    packing: Packing,
    *,
    ranks: tuple[int, ...] = (),
    plane_form: OnnxOperator | None = None,
) -> OnnxOperator:
    """A convolution of stored kernels, forward or transposed."""
    return quantized(
        name,
        family,
        *(Role.data, Role.weight, Role.bias),
        packing=packing,
        differs_between_chips=False,
        pointwise=False,
        ranks=ranks,
        needs_rounding=True,
        first_sample_only=True,
        plane_form=plane_form,
    )


def auxiliary(
    name: str,
    *inputs: Role,
    result_grid: tuple[str, str] | None,
    states_platform: bool,
    reshapes: bool = False,
) -> OnnxOperator:
    """One of linger's domain that computes no layer: between floats and integers, look-ups, axes of length one."""
    return OnnxOperator(
        name=name,
        domain=LINGER,
        family=Family.other,
        inputs=inputs,
        variadic=False,
        ranks=(),
        result_grid=result_grid,
        passes_grid=reshapes,
        moves=reshapes,
        reshapes=reshapes,
        pointwise=False,
        differs_between_chips=False,
        states_platform=states_platform,
        states_rounding=False,
        needs_rounding=False,
        first_sample_only=False,
        plane_form=None,
        same_as=None,
        axes_attribute=None,
        packing=TAKEN,
        exported=True,
        not_run="",
    )


def standard(
    name: str,
    *inputs: Role,
    packing: Packing = TAKEN,
    passes_grid: bool,
    moves: bool = False,
    reshapes: bool = False,
    pointwise: bool = False,
    variadic: bool = False,
    ranks: tuple[int, ...] = (),
    first_sample_only: bool = False,
    axes_attribute: str | None = None,
    exported: bool = True,
    not_run: str = "",
) -> OnnxOperator:
    """An operator of the ONNX standard."""
    return OnnxOperator(
        name=name,
        domain="",
        family=Family.other,
        inputs=inputs,
        variadic=variadic,
        ranks=ranks,
        result_grid=None,
        passes_grid=passes_grid,
        moves=moves,
        reshapes=reshapes,
        pointwise=pointwise,
        differs_between_chips=False,
        states_platform=False,
        states_rounding=False,
        needs_rounding=False,
        first_sample_only=first_sample_only,
        plane_form=None,
        same_as=None,
        axes_attribute=axes_attribute,
        packing=packing,
        exported=exported,
        not_run=not_run,
    )


def moving(
    name: str,
    *numbers: Role,
    packing: Packing = TAKEN,
    reshapes: bool = False,
    axes_attribute: str | None = None,
    exported: bool = True,
) -> OnnxOperator:
    """A standard operator that moves elements of its first input."""
    return standard(
        name,
        Role.data,
        *numbers,
        packing=packing,
        passes_grid=True,
        moves=True,
        reshapes=reshapes,
        axes_attribute=axes_attribute,
        exported=exported,
    )


def foreign(name: str, packing: Packing, not_run: str) -> OnnxOperator:
    """A standard operator that is known for what the packer makes of it; no export writes it."""
    return standard(name, Role.data, packing=packing, passes_grid=False, exported=False, not_run=not_run)

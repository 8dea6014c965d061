"""Every column of the table of ONNX operators is filled, and says what the operator does."""

import ast
import dataclasses
import importlib.resources

import pytest
from onnx import TensorProto, helper

import linger_jax
from linger_jax.config import Platform
from linger_jax.export.lint.checks import CHECKS
from linger_jax.export.lower import lowers
from linger_jax.export.runner.operators import RULES
from linger_jax.kinds import (
    LAYERS,
    LINGER,
    ONNX_OPERATORS,
    OPERATOR_OF_NAME,
    OPERATORS,
    PACKER_TAKES,
    OnnxOperator,
    Role,
)
from linger_jax.kinds import onnx_operators as ops
from linger_jax.targets import device_of, packed_platforms

EVERY = pytest.mark.parametrize("operator", ONNX_OPERATORS, ids=str)

# docs/specification/onnx_export.md section 4.1, row by row: a row of the table that goes is missed here.
TRANSLATED = {
    **{f"Q{name}": f"{name}Int" for name in ("Linear", "Conv1d", "Conv2d", "ConvTranspose2d", "BatchNorm2d")},
    **{f"Q{name}": f"{name}Int" for name in ("AvgPool2d", "Bmm", "Softmax", "LSTM", "GRU")},
    **{f"Q{name}": f"iq{name}" for name in ("Add", "Mul", "Cat", "Sigmoid", "Tanh")},
}
UNTRANSLATED = {"QGLU": "GluInt"}
TAKEN = {
    *("Quant", "Dequant", "Gather", "Squeeze", "Relu", "MaxPool", "Transpose", "Reshape", "Unsqueeze", "Flatten"),
    *("Slice", "Expand", "Tile", "Shape", "ArgMax", "Sigmoid", "Tanh", "Requant", "LayerNormInt"),
}
REFUSED = {
    *(
        "QLayerNorm",
        "QMatmul",
        "QGelu",
        "QSwish",
        "QGlobalAveragePool2d",
        "QConvTranspose1d",
        "QBatchNorm1d",
        "QAvgPool1d",
        "QTable",
    ),
    *("Clip", "Split", "Pad", "Cast", "Identity", "Concat"),
}
OF_VENUS = {"Resize", "LogSoftmax", "ShuffleChannel"}


def test_the_table_holds_the_names_of_the_specification():
    assert {row.name: row.packing.name for row in ONNX_OPERATORS if row.packing.name} == {**TRANSLATED, **UNTRANSLATED}
    assert {*TRANSLATED, *TRANSLATED.values(), *UNTRANSLATED.values(), *TAKEN} == PACKER_TAKES
    assert {row.name for row in ONNX_OPERATORS} == {*TRANSLATED, *UNTRANSLATED, *TAKEN, *REFUSED, *OF_VENUS}
    ours, standard = ({row.name for row in ONNX_OPERATORS if row.quantized is ours} for ours in (True, False))
    assert ours & standard == {"Gather", "Squeeze"}


def test_a_name_stands_for_one_operator():
    assert len(OPERATOR_OF_NAME) == len(ONNX_OPERATORS) + len(TRANSLATED) + len(UNTRANSLATED)
    assert OPERATOR_OF_NAME["linger::BmmInt"] is ops.QBMM
    assert OPERATOR_OF_NAME["linger::Gather"] is ops.TABLE_GATHER
    assert OPERATOR_OF_NAME["Gather"] is ops.GATHER


def test_a_forgotten_column_is_an_error():
    """No column has a default, so a new one has to be filled in for every operator."""
    columns = {column.name: getattr(ops.QADD, column.name) for column in dataclasses.fields(OnnxOperator)}
    assert OnnxOperator(**columns).full_name == "linger::QAdd"
    for name in columns:
        with pytest.raises(TypeError, match=name):
            OnnxOperator(**{other: value for other, value in columns.items() if other != name})


@EVERY
def test_it_runs_or_the_row_says_why_not(operator):
    assert (operator in RULES) != bool(operator.not_run)


@EVERY
def test_it_packs_or_the_row_says_why_not(operator):
    assert operator.packing.takes_name == (operator.packing.refusal is None)
    if operator.packing.refusal is not None:
        assert operator.packing.refusal.why
        assert operator.packing.refusal.remedy


@EVERY
@pytest.mark.parametrize("platform", [Platform.arcs, Platform.venus])
def test_the_lint_has_an_answer(operator, platform):
    """The operator alone in a file: the lint refuses it with the row's reason, or takes it."""
    own = platform is Platform.venus and operator.name in OF_VENUS
    for name in filter(None, (operator.name, operator.packing.name)):
        found = [f for f in linger_jax.check_onnx(one_node(operator, name), platform).findings if f.check == "operator"]
        if operator.packing.refusal is None or own or name == operator.packing.name:
            assert not found
        else:
            (finding,) = found
            assert (finding.limit, finding.remedy) == (operator.packing.refusal.why, operator.packing.refusal.remedy)
            assert finding.edit == operator.packing.refusal.edit


def one_node(operator, name):
    inputs = [f"x{i}" for i in range(len(operator.inputs))]
    node = helper.make_node(name, inputs, ["y"], domain=operator.domain)
    infos = [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, (1, 2)) for tensor in (*inputs, "y")]
    return helper.make_model(helper.make_graph([node], "one", infos[:-1], infos[-1:]))


def test_checks_ask_about_operators_of_the_table():
    asked = {operator for check in CHECKS if check.operators is not None for operator in check.operators}
    assert asked <= set(ONNX_OPERATORS)
    assert all(check.operators is None or check.operators for check in CHECKS)


@pytest.fixture(scope="module")
def emitted():
    """Operators that lowering rules and rewrites name as what they write, not as what they compare with.

    A rule of many kinds writes the operator that the record of the kind names.
    """
    found = set()
    for package in ("lower", "dialects", "dialects.thinker", "dialects.thinker.tables"):
        folder = importlib.resources.files(f"linger_jax.export.{package}")
        for file in folder.iterdir():
            if file.name.endswith(".py"):
                found |= named(ast.parse(file.read_text()))
    by_record = {kind.node_in_file for kind in OPERATORS if kind in lowers}
    by_record |= {kind.cell.node for kind in LAYERS if kind.cell is not None and kind in lowers}
    return {getattr(ops, name) for name in found if isinstance(getattr(ops, name), OnnxOperator)} | by_record


def named(node):
    if isinstance(node, ast.Compare):
        return set()
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ops":
        return {node.attr}
    return set().union(*map(named, ast.iter_child_nodes(node)))


@EVERY
def test_what_export_writes_has_a_rule_that_writes_it(operator, emitted):
    assert operator.exported == (operator in emitted)


@EVERY
def test_columns_agree(operator):
    assert not operator.reshapes or operator.moves
    assert not operator.moves or operator.passes_grid
    assert not (operator.passes_grid and operator.result_grid)
    assert not operator.exported or not operator.not_run
    assert not operator.states_rounding or operator.states_platform
    assert not operator.states_platform or operator.quantized
    assert not operator.needs_rounding or operator.packing.name or operator.plane_form
    assert operator.domain in ("", LINGER)
    if operator.plane_form is not None:
        assert operator.plane_form.inputs == operator.inputs
        assert operator.plane_form.family is operator.family
        assert operator.plane_form.packing.takes_name
        assert operator.plane_form.differs_between_chips == operator.differs_between_chips
    if operator.same_as is not None:
        assert RULES[operator.same_as] is RULES[operator]
        assert operator.same_as.packing.takes_name


@pytest.mark.parametrize("platform", packed_platforms())
def test_operators_of_one_chip_are_rows(platform):
    device = device_of(platform)
    assert device.missing_operators <= {row.name for row in ONNX_OPERATORS if row.packing.takes_name}
    assert device.own_operators <= {row.name for row in ONNX_OPERATORS if not row.packing.takes_name}


def test_roles_of_inputs():
    assert ops.QLINEAR.positions(Role.weight, 3) == (1,)
    assert ops.QCAT.positions(Role.data, 4) == (0, 1, 2, 3)
    assert ops.QLSTM.positions(Role.other_bias, 3) == ()
    assert ops.SLICE.role(2) is Role.numbers
    assert ops.RELU.role(1) is None

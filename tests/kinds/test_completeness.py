"""Each kind has a function in every phase, or its record says why not: there is no third state."""

import inspect
import re
from pathlib import Path

import jax
import pytest

import linger_jax.kinds
from linger_jax.converters.weights.layer_weights import converts
from linger_jax.converters.weights.torch_modules import measures
from linger_jax.export.lower import lowers
from linger_jax.export.lower.lower_moves import FORMS
from linger_jax.interpret import constrains, interprets
from linger_jax.kinds import (
    ARGMAX,
    AVG_POOL,
    BATCH_NORM,
    CONV_BN,
    CUSTOM_CONV,
    CUSTOM_LINEAR,
    DENSE,
    EMBED,
    FOLDED_NORM,
    GLU,
    JOIN,
    KINDS,
    LAYER_NORM,
    LAYERS,
    LSTM,
    MOVED,
    MOVES,
    OPERATORS,
    PASSING,
    SPARIFY_FFN,
    FileForm,
    GridOf,
    Kind,
    LayerKind,
    Move,
    OperatorKind,
    QuantizerRole,
    RecurrentCell,
)
from linger_jax.plan.decide import decides
from linger_jax.plan.recognize.custom_layers import KINDS as KINDS_OF_PRODUCTS
from linger_jax.staging.layer_kinds import LAYERS as LAYERS_OF_CLASSES
from linger_jax.staging.recurrent_calls import CELLS as LAYERS_OF_CELLS
from tests.plan.planned import planned
from tests.support_matrix.operators import ROWS_OF_MATRIX, Function

SOURCE = Path(__file__).parents[2] / "linger_jax"

# Kinds that no class of Flax is, and who makes nodes of them.
MADE_ELSEWHERE = {
    CUSTOM_LINEAR: "plan/recognize/custom_layers.py",
    CUSTOM_CONV: "plan/recognize/custom_layers.py",
    AVG_POOL: "plan/recognize/recognition.py",
    GLU: "plan/recognize/recognition.py",
    CONV_BN: "plan/fuse/fusion.py",
    FOLDED_NORM: "staging/linen_interceptor.py",
}
# Kinds without a row in docs/support_matrix.md although they have a quantized form.
WITHOUT_ROW = {
    CUSTOM_LINEAR: "a spelling of Dense, shown in tests/export/coverage",
    CUSTOM_CONV: "a spelling of Conv, shown in tests/export/coverage",
}
# Moves without nodes of a file.
WITHOUT_FORM = {
    "top_k": "the field has no operator for it",
    "sort": "the field has no operator for it",
    "optimization_barrier": "it only stands in programs that JAX itself rewrites",
}

# Columns that a method or a mapping beside the record reads for everybody, and the one that is for this file.
READ_HERE = {
    LayerKind: {"kernels", "no_torch_weights"},
    OperatorKind: {"platforms", "synonyms"},
    Move: {"unit_axes"},
}

layers = pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.name)
operators = pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.name)
passing = pytest.mark.parametrize("kind", PASSING, ids=lambda kind: kind.name)
moves = pytest.mark.parametrize("move", MOVES.values(), ids=lambda move: move.name)


def either(function: bool, reason: str | None) -> bool:
    """A function, or a reason why there is none; both would contradict each other."""
    return function != bool(reason)


@layers
def test_nodes_of_a_layer_are_made_somewhere(kind):
    classes = {kind for kind, _ in LAYERS_OF_CLASSES.values()} | set(LAYERS_OF_CELLS.values())
    assert (kind in classes) != (kind in MADE_ELSEWHERE)
    if kind in MADE_ELSEWHERE:
        assert re.search(rf"\b{kind.name.upper()}\b", (SOURCE / MADE_ELSEWHERE[kind]).read_text())


@layers
def test_a_layer_is_decided_or_stays_float_for_a_reason(kind):
    decided_as_float = kind == CONV_BN
    assert either(kind in decides and not decided_as_float, kind.float_because)


@layers
def test_a_layer_is_interpreted_or_stays_float_for_a_reason(kind):
    interpreted_as_float = kind == CONV_BN
    assert either(kind in interprets and not interpreted_as_float, kind.float_because)


@layers
def test_a_layer_is_constrained_or_has_no_such_form_for_a_reason(kind):
    assert either(kind in constrains, kind.unconstrained_because)


def test_stored_weights_are_parameters_that_a_weight_quantizer_reads():
    """By them constrain mode finds what it clips; a BatchNorm's weight is computed, and an LSTM clips its own way."""
    stored = {kind.name: kind.stored_weights for kind in (DENSE, EMBED, LAYER_NORM, SPARIFY_FFN, BATCH_NORM, LSTM)}
    assert stored == {
        "dense": ("kernel",),
        "embed": ("embedding",),
        "layer_norm": ("scale",),
        "sparify_ffn": ("weight_fc1", "weight_fc2", "weight_mask"),
        "batch_norm": (),
        "lstm": (),
    }


@layers
def test_a_layer_goes_into_a_file_or_is_refused_for_a_reason(kind):
    assert either(kind in lowers, kind.float_because or kind.file.refused_because)


@layers
def test_a_layer_takes_weights_of_pytorch_or_does_not_for_a_reason(kind):
    assert either(kind in converts, kind.no_torch_weights)


@layers
def test_a_layer_competes_for_modules_where_it_has_a_sort(kind):
    assert (kind in measures) == (kind.torch_sort is not None)
    assert kind.torch_sort is not None or kind not in converts


@layers
def test_a_quantized_layer_has_quantizers(kind):
    """A layer that passes a grid on has none; those of a recurrent layer depend on its directions."""
    expected = kind.float_because is None and not kind.passes and kind.cell is None
    assert bool(kind.quantizers) == expected
    assert len({role.name for role in kind.quantizers}) == len(kind.quantizers)


@operators
def test_an_operator_is_interpreted_and_lowered(kind):
    assert kind in interprets
    assert kind in lowers
    assert kind not in decides  # plan/decide/plan_operators.py decides them all alike
    assert kind.nodes


@operators
def test_an_operator_with_a_chip_function_says_where_it_is(kind):
    assert (kind.function is None) == (kind.platforms is None)
    assert kind.fixed_scale_on == frozenset() or kind.function.form == "squashing"


@passing
def test_a_step_that_passes_a_grid_on_has_its_functions(kind):
    assert kind in lowers
    assert (kind in interprets) == (kind != ARGMAX)  # an index is no value of a grid: its float evaluation stays
    assert (kind in decides) == (
        kind not in (ARGMAX, MOVED)
    )  # plan/decide/plan_operators.py decides moves by their row


@moves
def test_a_move_goes_into_a_file_or_does_not_for_a_reason(move):
    if move.grid is None:
        assert move.name not in FORMS
        assert not move.is_identity
        return
    assert either(move.name in FORMS or move.is_identity, WITHOUT_FORM.get(move.name))
    assert not (move.name in FORMS and move.is_identity)


@moves
def test_columns_of_a_move_agree(move):
    assert move.view is None or move.grid is GridOf.first  # a parameter is one array
    assert not move.keeps_flat_order or move.is_identity
    assert move.primitive == move.name or move == JOIN


def test_no_function_is_registered_for_something_else():
    for registry in (decides, interprets, constrains, lowers, converts, measures):
        assert set(registry) <= set(KINDS), registry.phase
    assert set(FORMS) <= set(MOVES)
    assert set(KINDS_OF_PRODUCTS.values()) == {kind for kind in LAYERS if kind.outside_modules}


def test_every_record_is_on_its_list():
    """A record that no list holds would be known to those who name it and to nobody else."""
    records = {value for value in vars(linger_jax.kinds).values() if isinstance(value, Kind)}
    assert records == set(KINDS)


def test_names_are_told_apart():
    assert len({kind.name for kind in LAYERS}) == len(LAYERS)
    nodes = [node for kind in KINDS for node in kind.nodes]
    assert len(set(nodes)) == len(nodes)
    assert not set(nodes) & {"scan", "remat", "lost"}


def _kinds_in_matrix() -> set[Kind | None]:
    found: set[Kind | None] = set()
    for row in ROWS_OF_MATRIX:
        plan = planned(Function(row.function), *(jax.ShapeDtypeStruct(shape, row.dtype) for shape in row.shapes))
        found |= {node.kind for node in plan.graph.walk() if node.quantized}
    return found


def test_what_is_quantized_has_a_row_in_the_support_matrix():
    shown = _kinds_in_matrix()
    for kind in LAYERS:
        assert either(kind in shown or kind.passes, kind.float_because or WITHOUT_ROW.get(kind)), kind.name
    assert set(OPERATORS) <= shown


@pytest.mark.parametrize("record", [FileForm, Kind, LayerKind, OperatorKind, Move, QuantizerRole, RecurrentCell])
def test_a_row_that_forgets_a_column_is_no_row(record):
    """Every column is required and named, and the record's docstring says what it is."""
    columns = inspect.signature(record).parameters.values()
    assert all(column.default is inspect.Parameter.empty for column in columns)
    assert all(column.kind is inspect.Parameter.KEYWORD_ONLY for column in columns)
    documented = "".join(base.__doc__ or "" for base in record.__mro__ if base is not object)
    assert [column.name for column in columns if f" {column.name}: " not in documented] == []
    with pytest.raises(TypeError, match="missing"):
        record(**{column.name: None for column in list(columns)[1:]})


def test_each_column_has_a_reader_beside_its_record():
    """A column that nobody reads is no fact that rooms share."""
    others = [path for path in SOURCE.rglob("*.py") if path.parent != SOURCE / "kinds"]
    texts = {path: path.read_text() for path in others}
    for record in (FileForm, LayerKind, OperatorKind, Move, QuantizerRole, RecurrentCell):
        for column in inspect.signature(record).parameters:
            readers = [path for path, text in texts.items() if re.search(rf"\.{column}\b", text)]
            assert readers or column in READ_HERE.get(record, ()), f"{record.__name__}.{column}"

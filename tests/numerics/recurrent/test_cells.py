"""The integer cells against the same cells in Python integers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linger_jax.config import Platform
from linger_jax.numerics.recurrent import (
    CELL_SCALE,
    GruCell,
    LoopVariant,
    LstmCell,
    Operands,
    PrimitiveGruCell,
    Scales,
    executor_gru_variant,
    forward,
    gru_variant,
    lstm_variant,
    of_new_state_alone,
    primitive_gru_variant,
)
from tests.numerics.recurrent import integer_cells

CHIPS = (Platform.venus, Platform.arcs, Platform.venusA)
STEPS, ROWS, INPUTS, UNITS = 4, 24, 3, 5
RUN = jax.jit(forward, static_argnums=0)


def gru_cell(platform: Platform, form: str) -> GruCell:
    reference = form == "reference"
    return GruCell(
        gru_variant(
            platform,
            update_keeps_new=reference,
            difference_passes_gradient=not reference,
            gates_saturate=not reference,
            resets_before_product=reference,
            rounds_products_in_float=reference,
        )
    )


def drawn(seed, gates, bits, weight_bits, *, large):
    """Integers of a layer and its exponents; large pre-activations reach every saturation."""
    rng = np.random.default_rng(seed)
    top = 2 ** (bits - 1)
    weights = 2 ** (weight_bits - 1)
    q = {
        "input": bits - 3,
        "hidden": bits - 1,
        "weight_ih": weight_bits - (4 if large else 1),
        "weight_hh": weight_bits - 1,
    }
    q = {name: max(0, e) for name, e in q.items()}
    integers = {
        "x": rng.integers(-top, top, (STEPS, ROWS, INPUTS)),
        "ih": rng.integers(-weights, weights, (INPUTS, gates * UNITS)),
        "hh": rng.integers(-weights, weights, (UNITS, gates * UNITS)),
        "h0": rng.integers(-2 * top, 2 * top, (ROWS, UNITS)),
        "c0": rng.integers(-(2**17), 2**17, (ROWS, UNITS)),
    }
    spread = 2.0 ** (3 if large else 0)
    integers["bias_ih"] = np.rint(rng.normal(0, spread, gates * UNITS) * 2 ** (q["input"] + q["weight_ih"])).astype(int)
    integers["bias_hh"] = np.rint(rng.normal(0, spread, gates * UNITS) * 2 ** (q["hidden"] + q["weight_hh"])).astype(
        int
    )
    return integers, q


def operands(v, q, kind):
    numbers = {
        "x": v["x"] / 2 ** q["input"],
        "weight_ih": v["ih"] / 2 ** q["weight_ih"],
        "weight_hh": v["hh"] / 2 ** q["weight_hh"],
        "bias_ih": v["bias_ih"] / 2 ** (q["input"] + q["weight_ih"]),
        "bias_hh": v["bias_hh"] / 2 ** (q["hidden"] + q["weight_hh"]),
    }
    # float32 numbers: what a wide bias loses here, the model loses too.
    numbers = {name: np.asarray(a, np.float32) for name, a in numbers.items()}
    v["bias_ih"] = np.float64(numbers["bias_ih"]) * 2 ** (q["input"] + q["weight_ih"])
    v["bias_hh"] = np.float64(numbers["bias_hh"]) * 2 ** (q["hidden"] + q["weight_hh"])
    v |= {name: np.floor(v[name] + 0.5).astype(np.int64).astype(object) for name in ("bias_ih", "bias_hh")}
    initial = (np.float32(v["h0"] / 2 ** q["hidden"]), np.float32(v["c0"] / CELL_SCALE))
    scales = Scales(**{name: jnp.float32(2.0**e) for name, e in q.items()})
    return Operands(**numbers, initial=initial[: 2 if kind == "lstm" else 1]), scales


@pytest.mark.parametrize("large", [False, True], ids=["normal", "saturating"])
@pytest.mark.parametrize(
    ("kind", "platform", "widths"),
    [
        *(("lstm", chip, (8, 8)) for chip in CHIPS),
        *(("gru chip", chip, (8, 8)) for chip in CHIPS),
        *(("gru reference", chip, (8, 8)) for chip in (Platform.venus, Platform.arcs)),
        ("lstm", Platform.venus, (16, 16)),
        ("lstm", Platform.arcs, (16, 16)),
        ("gru chip", Platform.arcs, (8, 16)),
        ("gru chip", Platform.venus, (16, 16)),
        ("gru chip", Platform.venusA, (16, 16)),
    ],
    ids=str,
)
def test_a_loop_computes_the_integers_of_the_specification(kind, platform, widths, large):
    """First states off the grid of the later ones, saturated products, sums beyond 32 bits.

    Source: docs/codes.md R14, R15 and R18.
    """
    bits, weight_bits = widths
    kind, _, form = kind.partition(" ")
    cell = LstmCell(lstm_variant(platform)) if kind == "lstm" else gru_cell(platform, form)
    v, q = drawn(sum(widths) + large, cell.gates, bits, weight_bits, large=large)
    given, scales = operands(v, q, kind)
    loop = LoopVariant(cell=cell, input_bits=bits, weight_bits=weight_bits, hidden_bits=bits, reverse=False)
    got = RUN(loop, given, scales, None)
    h, c = v["h0"].astype(object), v["c0"].astype(object)
    w = {name: v[name].astype(object) for name in ("ih", "hh", "bias_ih", "bias_hh")}
    for t in range(STEPS):
        if kind == "lstm":
            h, c = integer_cells.lstm(platform, v["x"][t], h, c, w, q, bits)
        else:
            h = integer_cells.gru(platform, v["x"][t], h, w, q, bits, form)
        np.testing.assert_array_equal(np.asarray(got.hidden[t]).astype(np.int64), h.astype(np.int64), f"step {t}")
    np.testing.assert_array_equal(np.asarray(got.last[0]).astype(np.int64), h.astype(np.int64))
    if kind == "lstm":
        np.testing.assert_array_equal(np.asarray(got.last[1]).astype(np.int64), c.astype(np.int64))


def assert_steps_are_those_of(by_hand, cell, platform, v, q):
    """A loop over a GRU of 8 bits gives, step by step, the integers of a function of the specification."""
    given, scales = operands(v, q, "gru")
    loop = LoopVariant(cell=cell, input_bits=8, weight_bits=8, hidden_bits=8, reverse=False)
    got, h = RUN(loop, given, scales, None), v["h0"].astype(object)
    w = {name: v[name].astype(object) for name in ("ih", "hh", "bias_ih", "bias_hh")}
    for t in range(STEPS):
        h = by_hand(platform, v["x"][t], h, w, q)
        np.testing.assert_array_equal(np.asarray(got.hidden[t]).astype(np.int64), h.astype(np.int64), f"step {t}")


@pytest.mark.parametrize("scale", [5, 7, 8, 11])
@pytest.mark.parametrize("platform", [Platform.arcs, Platform.venusA])
def test_a_loop_computes_the_gru_of_the_executor(platform, scale):
    """At any scale of the state; weights that a chip does not read are zero."""
    cell = GruCell(executor_gru_variant(platform))
    v, q = drawn(scale, cell.gates, 8, 8, large=scale == 7)
    q["hidden"] = scale
    v["h0"] = v["h0"].clip(-128, 127)
    if platform is Platform.venusA:
        v |= {name: np.asarray(of_new_state_alone(v[name], -1)) for name in ("hh", "bias_hh")}
    assert_steps_are_those_of(integer_cells.executor_gru, cell, platform, v, q)


@pytest.mark.parametrize("large", [False, True], ids=["normal", "saturating"])
@pytest.mark.parametrize("platform", [Platform.arcs, Platform.venusA])
def test_a_loop_computes_the_gru_of_operators(platform, large):
    cell = PrimitiveGruCell(primitive_gru_variant(platform))
    v, q = drawn(large, cell.gates, 8, 8, large=large)
    v["h0"] = v["h0"].clip(-128, 127)
    assert_steps_are_those_of(integer_cells.primitive_gru, cell, platform, v, q)


def test_mars_computes_as_arcs():
    """Its own name, the tables of arcs."""
    cell = LstmCell(lstm_variant(Platform.mars))
    v, q = drawn(5, cell.gates, 8, 8, large=False)
    given, scales = operands(v, q, "lstm")
    loops = [
        LoopVariant(cell=LstmCell(lstm_variant(chip)), input_bits=8, weight_bits=8, hidden_bits=8, reverse=False)
        for chip in (Platform.mars, Platform.arcs)
    ]
    mars, arcs = (RUN(loop, given, scales, None) for loop in loops)
    np.testing.assert_array_equal(mars.hidden, arcs.hidden)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_compiled_or_not_with_or_without_wide_integers_the_bits_are_the_same(kind):
    cell = LstmCell(lstm_variant(Platform.arcs)) if kind == "lstm" else gru_cell(Platform.venusA, "chip")
    v, q = drawn(3, cell.gates, 8, 8, large=False)
    given, scales = operands(v, q, kind)
    run = functools.partial(
        forward, LoopVariant(cell=cell, input_bits=8, weight_bits=8, hidden_bits=8, reverse=True), given, scales, None
    )
    compiled = jax.jit(run)()
    with jax.enable_x64(True):
        flagged = jax.jit(run)()
    with jax.disable_jit():
        plain = run()
    for one, other in zip(jax.tree.leaves(compiled), jax.tree.leaves(flagged), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(compiled.hidden, plain.hidden)


@pytest.mark.parametrize("length", [1000, 2500])
def test_the_product_of_a_long_input_is_exact(length):
    """Sums beyond 2^24, which a float32 product would round."""
    cell = LstmCell(lstm_variant(Platform.venus))
    loop = LoopVariant(cell=cell, input_bits=8, weight_bits=8, hidden_bits=8, reverse=False)
    x = np.full((1, 1, length), 127 / 128, np.float32)
    x[..., ::2] = -1.0
    weight = np.full((length, 4), -1.0, np.float32)
    weight[1::2] = 127 / 128
    ones = jnp.float32(2**7)
    given = Operands(
        x=x,
        weight_ih=weight / np.float32(2**11),
        weight_hh=np.zeros((1, 4), np.float32),
        bias_ih=None,
        bias_hh=None,
        initial=(np.zeros((1, 1), np.float32),) * 2,
    )
    scales = Scales(input=ones, weight_ih=jnp.float32(2**18), weight_hh=ones, hidden=ones)
    total = (128**2 + 127**2) * (length // 2)
    assert RUN(loop, given, scales, None).left.pre[0, 0, 0] == int(np.floor(total / 2**14 + 0.5))

"""Whom the calibration context concerns: the code inside it, and no other of its thread or process."""

import asyncio
import contextlib
import threading

import flax.linen as nn
import jax
import pytest

import linger_jax
from linger_jax.api.calibration_context import is_calibrating
from tests.models import Calls, Mlp, initialised, prepared, random_array

X = random_array(0, 6, 5)


@pytest.fixture(scope="module")
def calibrated():
    qmodel, variables = prepared(Mlp(), X)
    return qmodel, linger_jax.calibrate(qmodel, variables, [X], progress=False)


def waiting_beside(*inside):
    """Runs functions in a task, one between each two waits inside a context, and asks another task in each wait."""
    answers = []

    async def holder(turn, done):
        with linger_jax.calibration():
            for function in inside:
                assert is_calibrating()
                function()
                turn.set()
                await done.wait()
                done.clear()

    async def other(turn, done, ask):
        for _ in inside:
            await turn.wait()
            turn.clear()
            answers.append(ask())
            done.set()

    async def both(ask):
        turn, done = asyncio.Event(), asyncio.Event()
        await asyncio.gather(holder(turn, done), other(turn, done, ask))

    return lambda ask: (asyncio.run(both(ask)), answers)[1]


@pytest.mark.unit
def test_a_task_that_waits_inside_leaves_other_tasks_outside():
    assert waiting_beside(lambda: None)(is_calibrating) == [False]
    assert not is_calibrating()


def test_another_task_evaluates_while_one_waits_inside(calibrated):
    qmodel, variables = calibrated
    (answer,) = waiting_beside(lambda: None)(lambda: qmodel.apply(variables, X))
    assert isinstance(answer, jax.Array)


def test_a_compiled_function_is_that_of_its_task():
    qmodel, variables = prepared(Mlp(), X)
    step = jax.jit(lambda variables: qmodel.apply(variables, X, mutable=["quant"])[1])
    wanted_outside = set(step(variables))
    inside = []

    def calibrate():
        inside.append(set(step(variables)))

    answers = waiting_beside(calibrate, calibrate)(lambda: set(step(variables)))
    assert answers == [wanted_outside] * 2 == [{"quant"}] * 2
    assert inside == [{"quant", "params"}] * 2
    assert set(step(variables)) == wanted_outside


@pytest.mark.unit
def test_contexts_of_tasks_end_in_any_order():
    seen = []

    async def holder(begin, end):
        await begin.wait()
        with linger_jax.calibration():
            await end.wait()
            seen.append(is_calibrating())

    async def run():
        events = [asyncio.Event() for _ in range(4)]
        tasks = [asyncio.create_task(holder(events[0], events[2])), asyncio.create_task(holder(events[1], events[3]))]
        for event in events:
            event.set()
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert seen == [True, True]
    assert not is_calibrating()


@pytest.mark.unit
def test_a_task_that_outlives_the_context_it_was_made_in_is_outside():
    async def child(event):
        before = is_calibrating()
        await event.wait()
        return before, is_calibrating()

    async def run():
        event = asyncio.Event()
        with linger_jax.calibration():
            task = asyncio.create_task(child(event))
            await asyncio.sleep(0)
        event.set()
        return await task

    assert asyncio.run(run()) == (True, False)


@pytest.mark.unit
def test_a_generator_that_yields_inside_leaves_its_caller_outside():
    def batches():
        with linger_jax.calibration():
            for _ in range(2):
                yield is_calibrating()

    inside = batches()
    assert next(inside)
    assert not is_calibrating()
    with linger_jax.calibration():
        assert next(inside)
        assert is_calibrating()
    assert not is_calibrating()
    inside.close()
    assert not is_calibrating()


@pytest.mark.unit
def test_a_context_manager_that_is_made_of_the_context_hands_it_on():
    @contextlib.contextmanager
    def announced():
        with linger_jax.calibration():
            yield

    with announced():
        assert is_calibrating()
    with contextlib.ExitStack() as stack:
        stack.enter_context(announced())
        stack.enter_context(linger_jax.calibration())
        assert is_calibrating()
    assert not is_calibrating()
    assert linger_jax.calibration()(is_calibrating)()

    def pieces():
        with announced():
            yield is_calibrating()

    piece = pieces()
    assert next(piece)
    assert not is_calibrating()
    piece.close()


@pytest.mark.unit
def test_the_context_is_that_of_its_thread():
    answers = []

    async def through_a_thread():
        with linger_jax.calibration():
            answers.append(await asyncio.to_thread(is_calibrating))

    asyncio.run(through_a_thread())
    with linger_jax.calibration():
        thread = threading.Thread(target=lambda: answers.append(is_calibrating()))
        thread.start()
        thread.join()
    assert answers == [False, False]


def test_a_compiled_function_is_traced_for_the_context_and_once_outside():
    qmodel, variables = prepared(Mlp(), X)
    traces = []

    @jax.jit
    def step(variables):
        traces.append(is_calibrating())
        return qmodel.apply(variables, X, mutable=["quant"])[1]

    def twice():
        return [set(step(variables)) for _ in range(2)]

    assert twice() == [{"quant"}] * 2
    with linger_jax.calibration():
        assert twice() == [{"quant", "params"}] * 2
    assert twice() == [{"quant"}] * 2
    assert traces == [False, True, True]


def test_tracing_inside_the_context_compiles_nothing_else_again():
    traces = []

    def counted(x):
        traces.append(x.shape)
        return nn.Dense(2)(x)

    qmodel = linger_jax.init(Calls(counted))
    variables = initialised(qmodel, X)
    with linger_jax.calibration():
        qmodel.apply(variables, X)
        before = len(traces)
        jax.jit(lambda variables: qmodel.apply(variables, X)[1])(variables)
        qmodel.apply(variables, X)
    with linger_jax.calibration():
        qmodel.apply(variables, X)
    assert len(traces) == before

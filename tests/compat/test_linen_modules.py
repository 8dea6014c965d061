import flax.linen as nn
import jax
import numpy as np
import pytest
from flax.core import DenyList

from linger_jax.compat import linen

X = np.ones((2, 3), np.float32)
KEY = jax.random.key(0)


class Wider(nn.Dense):
    pass


class Other(nn.Dense):
    @nn.compact
    def __call__(self, inputs):
        return super().__call__(inputs) * 2.0


def intercepted(module):
    found = []

    def interceptor(next_fun, args, kwargs, context):
        if context.method_name == "__call__":
            found.append(linen.intercepted_method(context.orig_method))
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(interceptor):
        module.init(KEY, X)
    return found


def test_interceptors_around_a_call_are_seen():
    assert not linen.under_interceptors()
    with nn.intercept_methods(lambda next_fun, args, kwargs, context: next_fun(*args, **kwargs)):
        assert linen.under_interceptors()
    assert not linen.under_interceptors()


@pytest.mark.parametrize("module", [nn.Dense(2), Wider(2), nn.remat(nn.Dense)(2), nn.jit(nn.Dense)(2)])
def test_the_method_that_an_interceptor_meets_is_the_one_in_the_class_body(module):
    assert intercepted(module)[-1] is linen.written_method(nn.Dense.__call__)


def test_a_method_of_a_subclass_and_the_one_it_calls_are_two():
    own, inherited = intercepted(Other(2))
    assert own is linen.written_method(Other.__call__)
    assert inherited is linen.written_method(nn.Dense.__call__)


def test_classes_of_transformations_are_named():
    assert linen.lifted_classes(Wider) == []
    assert linen.lifted_classes(nn.remat(Wider)) == ["CheckpointWider"]
    assert linen.lifted_classes(nn.jit(nn.remat(Wider))) == ["JitCheckpointWider", "CheckpointWider"]
    assert linen.lifted_classes(nn.scan(Wider, variable_axes={"params": 0})) == ["ScanWider"]


@pytest.mark.parametrize(
    ("collections", "inside"),
    [(True, True), (False, False), ("quant", True), (["params"], False), (DenyList("params"), True)],
)
def test_a_mutable_filter_holds_a_collection(collections, inside):
    assert linen.in_collections(collections, "quant") is inside
    rest = linen.without_collections(collections, ["quant"])
    assert not linen.in_collections(rest, "quant")
    assert linen.in_collections(rest, "cache") is linen.in_collections(collections, "cache")


def test_a_variable_leaves_its_box_and_another_enters_it():
    box = nn.Partitioned(X, names=("in", "out"))
    assert linen.unboxed(box) is X
    assert linen.unboxed(X) is X
    changed = linen.boxed_like(box, X + 1)
    assert (type(changed), changed.names) == (nn.Partitioned, ("in", "out"))
    np.testing.assert_array_equal(changed.value, X + 1)
    assert linen.boxed_like(None, X) is X

"""Functions that rooms register for kinds."""

import pytest

from linger_jax.kinds import CONV, DENSE, EMBED, Registry


def test_a_function_stands_for_every_kind_it_is_registered_for():
    names = Registry("name")

    @names(DENSE, CONV)
    def product():
        return "product"

    assert names.get(DENSE) is product
    assert names.get(CONV) is product
    assert names.get(EMBED) is None
    assert names.get(None) is None
    assert (DENSE in names, EMBED in names, list(names)) == (True, False, [DENSE, CONV])


def test_a_kind_has_one_function_a_phase():
    names = Registry("name")
    names(DENSE)(lambda: 1)
    with pytest.raises(TypeError, match="name: dense has two functions"):
        names(CONV, DENSE)(lambda: 2)

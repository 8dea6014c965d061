"""Planning a model in a test: shapes only, nothing is computed."""

from __future__ import annotations

from typing import Any

import jax

import linger_jax
from linger_jax.plan import Plan, Row


def planned(model: Any, *args: Any, config: Any = None, method: Any = None, rngs: Any = None, **kwargs: Any) -> Plan:
    """The plan of a call; what ``linger_jax.init`` takes goes there, everything else to the call."""
    options = {k: kwargs.pop(k) for k in ("disable_module", "disable_submodel", "disable_ops", "strict") if k in kwargs}

    def init(*args: Any) -> Any:
        return model.init({"params": jax.random.key(0), **(rngs or {})}, *args, method=method, **kwargs)

    variables = jax.eval_shape(init, *args)
    qmodel = linger_jax.init(model, config, **options)
    return qmodel.plan(variables, *args, method=method, rngs=rngs, verdict=False, **kwargs)


def row_of(plan: Plan, name: str) -> Row:
    """The one row with a name."""
    (row,) = (row for row in plan.rows() if row.name == name)
    return row


def summary(plan: Plan) -> list[tuple[str, str, str]]:
    """``(name, op, status)`` of every row."""
    return [(row.name, row.op, row.status) for row in plan.rows()]

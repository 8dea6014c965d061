"""Where equations of a jaxpr were written."""

from __future__ import annotations

import importlib.resources
import os

import flax
import jax

from linger_jax.compat import ClosedJaxpr, JaxprEqn, function_file, source_frames


def _folder(file: str) -> str:
    return os.path.dirname(os.path.abspath(file)) + os.sep


_JAX_FOLDER = _folder(jax.__file__)
_OWN_FOLDER = f"{importlib.resources.files('linger_jax')}{os.sep}"
_FOLDERS_OF_LIBRARIES = (_JAX_FOLDER, _folder(flax.__file__), _OWN_FOLDER)


def source_line(eqn: JaxprEqn) -> str:
    """``file:line`` of the user's code that made an equation, or an empty string."""
    for file, line in source_frames(eqn):
        name = os.path.normpath(file)
        if not name.startswith(("<", *_FOLDERS_OF_LIBRARIES)):
            return f"{os.path.basename(name)}:{line}"
    return ""


def is_library_call(closed: ClosedJaxpr) -> bool:
    """Whether a nested function was written inside JAX itself, not by the user."""
    return function_file(closed).startswith(_JAX_FOLDER)

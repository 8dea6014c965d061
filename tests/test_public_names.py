"""The public face of the package."""

import importlib.metadata
import subprocess
import sys

import converters
import linger_jax
from linger_jax import errors


def test_every_public_name_is_there_and_dir_shows_those_alone():
    assert dir(linger_jax) == sorted(linger_jax.__all__)
    assert [name for name in linger_jax.__all__ if getattr(linger_jax, name, None) is None] == []


def test_every_error_that_can_be_raised_is_public():
    family = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert family - set(linger_jax.__all__) == set()


def test_the_version_is_that_of_the_installed_package():
    assert linger_jax.__version__ == importlib.metadata.version("linger-jax")


def test_converters_at_the_top_level_are_those_of_the_package():
    public = [name for name in vars(linger_jax.converters) if not name.startswith("_") and name[0].islower()]
    shown = {name: value for name, value in vars(converters).items() if not name.startswith("_")}
    assert shown == {name: getattr(linger_jax.converters, name) for name in shown}
    assert {"from_torch", "to_torch", "save_torch", "load_linger_checkpoint"} <= set(shown) & set(public)


def test_a_file_of_the_user_that_is_called_converters_is_in_nobodys_way(tmp_path):
    (tmp_path / "converters.py").write_text("x = 1\n")
    run = subprocess.run(
        [sys.executable, "-m", "linger_jax", "inspect", "nothing.pt"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "nothing.pt" in run.stderr + run.stdout
    assert "converters" not in run.stderr + run.stdout


def test_importing_the_package_loads_neither_torch_nor_onnx():
    code = "import sys, linger_jax.cli; print([m for m in ('torch', 'onnx', 'matplotlib') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr

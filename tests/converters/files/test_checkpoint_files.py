"""Checkpoint files and state dicts as they come: wrapped, prefixed, in half precision, damaged, or no such thing."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch

from linger_jax import converters
from linger_jax.errors import ConversionError
from tests.converters.twins import example

MODEL = nn.Dense(3)
X = example(2, 5)


def state() -> dict[str, torch.Tensor]:
    return torch.nn.Linear(5, 3).state_dict()


def imported(source: Any, model: nn.Module = MODEL) -> tuple[Any, converters.ImportReport]:
    return converters.from_torch(source, model, X)


def saved(tmp_path: Path, contents: Any, **options: Any) -> Path:
    path = tmp_path / "model.pt"
    torch.save(contents, path, **options)
    return path


def error_of(source: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        imported(source)
    return str(caught.value)


def assert_equal_weights(variables: Any, want: dict[str, torch.Tensor]) -> None:
    np.testing.assert_array_equal(variables["params"]["kernel"], want["weight"].float().numpy().T)
    np.testing.assert_array_equal(variables["params"]["bias"], want["bias"].float().numpy())


# --- files ---


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_either_format(tmp_path: Path, zipped: bool, as_text: bool) -> None:
    want = state()
    path = saved(tmp_path, want, _use_new_zipfile_serialization=zipped)
    variables, report = imported(str(path) if as_text else path)
    assert_equal_weights(variables, want)
    assert report.source == str(path)


def test_a_missing_file(tmp_path: Path) -> None:
    assert error_of(tmp_path / "none.pt") == f"{tmp_path / 'none.pt'}: no such file"


def test_a_folder(tmp_path: Path) -> None:
    assert "the folder holds none of" in error_of(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.pt"
    path.touch()
    assert error_of(path) == f"{path}: is empty (0 bytes); copy or save the checkpoint again"


@pytest.mark.parametrize("kept", [5, 60, 400, -1])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file(tmp_path: Path, zipped: bool, kept: int) -> None:
    path = saved(tmp_path, state(), _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:kept])
    text = error_of(path)
    assert text.startswith(f"{path}: is truncated")
    assert "cop" in text


def test_a_file_with_a_flipped_bit(tmp_path: Path) -> None:
    path = saved(tmp_path, state())
    contents = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = contents.index(archive.read("model/data/0"))
    contents[place + 2] ^= 1
    path.write_bytes(contents)
    assert "is truncated or damaged" in error_of(path)


@pytest.mark.model
def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        want = state()
        path = saved(tmp_path, want)
    finally:
        torch.serialization.set_crc32_options(before)
    assert_equal_weights(imported(path)[0], want)


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "text.pt"
    path.write_text("hello world, this is not a checkpoint")
    assert "no file of torch.save" in error_of(path)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * 100_000)
    assert "bomb/data.pkl is compressed; torch.save never does that" in error_of(path)


class RunsCode:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_in_a_file_are_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    trace = tmp_path / "trace"
    contents = {**state(), "extra": RunsCode(trace)}
    path = saved(tmp_path, contents, _use_new_zipfile_serialization=zipped)
    text = error_of(path)
    assert text.startswith(f"{path}: holds the Python object posix.system beside tensors")
    assert "save model.state_dict()" in text
    assert not trace.exists()


def test_a_plain_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "plain.pt"
    path.write_bytes(pickle.dumps(RunsCode(trace)))
    error_of(path)
    assert not trace.exists()


def test_a_whole_saved_module_is_refused(tmp_path: Path) -> None:
    text = error_of(saved(tmp_path, torch.nn.Linear(5, 3)))
    assert "holds the Python object torch.nn.modules.linear.Linear" in text


# --- contents ---


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_wrappers_are_opened(tmp_path: Path, key: str) -> None:
    want = state()
    path = saved(tmp_path, {"epoch": 3, key: want, "optimizer": {"lr": 0.1}})
    variables, report = imported(path)
    assert_equal_weights(variables, want)
    assert report.dropped == (("epoch", f"beside {key!r}"), ("optimizer", f"beside {key!r}"))


def test_wrappers_inside_wrappers_are_opened() -> None:
    want = state()
    assert_equal_weights(imported({"model": {"state_dict": want, "best": 0.9}})[0], want)


def test_two_models_in_one_file_are_not_guessed() -> None:
    text = error_of({"state_dict": state(), "model": state()})
    assert "holds several models (state_dict, model); pass the one to import" in text


@pytest.mark.parametrize(
    "prefixes", [("module.",), ("_orig_mod.",), ("module.", "_orig_mod."), ("_orig_mod.", "module.")]
)
def test_prefixes_of_parallel_and_compiled_models_are_removed(prefixes: tuple[str, ...]) -> None:
    want = state()
    variables, report = imported({"".join(prefixes) + key: value for key, value in want.items()})
    assert_equal_weights(variables, want)
    assert set(report.prefixes) == set(prefixes)
    assert [row.key for row in report.rows] == ["weight", "bias"]


def test_a_compiled_part_of_a_model_is_read() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(3, name="head")(x)

    _, report = imported({f"head._orig_mod.{key}": value for key, value in state().items()}, Flax())
    assert [(row.key, row.how) for row in report.rows] == [("head.weight", "name"), ("head.bias", "name")]


def test_a_module_called_module_is_no_prefix() -> None:
    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(3, name="head")(nn.Dense(5, name="module")(x))

    contents = torch.nn.ModuleDict({"module": torch.nn.Linear(5, 5), "head": torch.nn.Linear(5, 3)}).state_dict()
    _, report = imported(contents, Flax())
    assert report.prefixes == ()
    assert {row.how for row in report.rows} == {"name"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    want = {key: value.to(dtype) for key, value in state().items()}
    variables, report = imported(saved(tmp_path, want))
    assert_equal_weights(variables, want)
    assert variables["params"]["kernel"].dtype == np.float32
    name = str(dtype).removeprefix("torch.")
    assert report.widened == (("weight", name), ("bias", name))
    assert f"2 converted from {name}" in report.summary


def test_numpy_arrays_count_as_tensors() -> None:
    want = state()
    assert_equal_weights(imported({key: value.numpy() for key, value in want.items()})[0], want)


def test_a_live_module() -> None:
    module = torch.nn.Linear(5, 3)
    variables, report = imported(module)
    assert_equal_weights(variables, module.state_dict())
    assert report.source == "state_dict() of Linear"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    contents = state()
    contents["weight"][1, 2] = value
    path = saved(tmp_path, contents)
    assert f"{path}: weight has 1 of 15 values that are NaN or infinite" in error_of(path)


def test_every_tensor_with_bad_values_is_told() -> None:
    text = error_of({key: value * float("nan") for key, value in state().items()})
    assert "weight has 15 of 15" in text
    assert "bias has 3 of 3" in text


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ([1, 2], "is a list, not a mapping of tensors; save the model's state_dict() and pass that"),
        (torch.zeros(3), "is a Tensor, not a mapping of tensors"),
        ({}, "holds no tensors"),
        ({"epoch": 3}, "is not a mapping of tensors: epoch (epoch is a int); pass the model's state_dict()"),
        ({"a": torch.zeros(3), "b": "text"}, "is not a mapping of tensors: b (b is a str)"),
    ],
)
def test_contents_that_are_no_state_dict(tmp_path: Path, contents: Any, text: str) -> None:
    path = saved(tmp_path, contents)
    assert f"{path}: {text}" in error_of(path)


def test_integer_weights_are_refused() -> None:
    text = error_of({"weight": torch.ones(3, 5, dtype=torch.int8), "bias": torch.zeros(3)})
    assert "weight holds int8 where params.kernel takes real numbers" in text


def test_a_quantization_aware_checkpoint_is_recognised() -> None:
    contents = {**state(), "weight_quantizer.scale": torch.ones(()), "weight_quantizer.running_data": torch.ones(())}
    assert "state of a quantizer, from quantization-aware training: import it by load_linger_checkpoint" in error_of(
        contents
    )


def test_sparse_and_meta_tensors_are_refused() -> None:
    assert "quantized or sparse" in error_of({"weight": torch.ones(3, 5).to_sparse(), "bias": torch.zeros(3)})
    assert "has no values (a meta tensor)" in error_of(
        {"weight": torch.ones(3, 5, device="meta"), "bias": torch.zeros(3)}
    )


def test_counters_and_extra_state_are_dropped() -> None:
    contents = {**state(), "_extra_state": object(), "num_batches_tracked": torch.tensor(3)}
    _, report = imported(contents)
    assert [key for key, _ in report.dropped] == ["_extra_state", "num_batches_tracked"]


# --- the report ---


def test_the_report_prints_as_a_table(tmp_path: Path) -> None:
    contents = {**{f"module.{key}": value.half() for key, value in state().items()}}
    contents["module.num_batches_tracked"] = torch.tensor(3)
    _, report = imported(contents)
    text = str(report)
    row = next(line for line in text.splitlines() if "weight" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["weight", "3x5", "params.kernel", "5x3", "[out, in] -> [in, out], from float16", "name"]
    assert "num_batches_tracked" in text
    assert "dropped: counter of training batches" in text
    assert report.summary == (
        "2 tensors imported (2 by name); 1 dropped; 2 converted from float16; prefix module. removed"
    )
    assert all(line == line.rstrip() for line in text.splitlines())


def test_torch_is_only_needed_for_what_is_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = saved(tmp_path, state())
    arrays = {key: value.numpy() for key, value in state().items()}
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    imported(arrays)
    assert "needs PyTorch, which is not installed: pip install 'linger-jax[torch]'" in error_of(path)


def test_a_small_file_that_claims_gigabytes_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    bomb = torch.zeros(1).expand(1 << 20, 1 << 20)
    path = saved(tmp_path, {"weight": bomb, "bias": torch.zeros(3)})
    assert "weight [1048576, 1048576] does not fit" in error_of(path)

    class Huge(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return x @ self.param("weight", nn.initializers.zeros, (1 << 20, 1 << 20))

    with pytest.raises(ConversionError, match="claims 4,398,046,511,104 bytes with 4 in the file"):
        converters.from_torch({"weight": bomb}, Huge(), jax.ShapeDtypeStruct((1, 1 << 20), np.float32))

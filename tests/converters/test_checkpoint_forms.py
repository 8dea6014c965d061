"""Checkpoints in the forms that repositories keep them in: packed, normalised, sharded, under names made by rules."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from linger_jax import converters
from linger_jax.converters.files.safetensors_file import read_safetensors_file, write_safetensors_file
from linger_jax.errors import ConversionError, FileError
from tests.converters.twins import assert_twins, channels_last, example, largest_difference, randomized

X = example(2, 5)


class TorchMlp(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(5, 4), torch.nn.Linear(4, 4)])
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)


class Mlp(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        for i in range(2):
            x = nn.relu(nn.Dense(4, name=f"block{i}_fc")(x))
        return nn.Dense(3, name="head")(x)


# --- attention ---


class TorchAttention(torch.nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.norm = torch.nn.LayerNorm(8)
        self.second = torch.nn.MultiheadAttention(8, 4, batch_first=True)

    def forward(self, x: Any) -> Any:
        x = self.norm(x + self.attention(x, x, x)[0])
        return self.second(x, x, x)[0]


class Attention(nn.Module):
    bias: bool = True

    @nn.compact
    def __call__(self, x: Any) -> Any:
        y = nn.MultiHeadDotProductAttention(2, use_bias=self.bias, name="attention")(x)
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(x + y)
        return nn.MultiHeadDotProductAttention(4, name="second")(x)


@pytest.mark.parametrize("bias", [True, False])
def test_packed_projections_go_into_four_layers_and_come_back(bias: bool) -> None:
    x = example(2, 5, 8)
    assert_twins(TorchAttention(bias=bias), Attention(bias), x, flax_x=x)


def test_projections_of_their_own_sizes() -> None:
    module = torch.nn.MultiheadAttention(8, 2, kdim=8, vdim=6)
    state = module.state_dict()
    values = example(2, 5, 6)

    class Cross(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.MultiHeadDotProductAttention(2, name="a")(x, x, jnp.asarray(values))

    variables, report = converters.from_torch({f"a.{k}": v for k, v in state.items()}, Cross(), example(2, 5, 8))
    kernel = np.asarray(variables["params"]["a"]["value"]["kernel"])
    np.testing.assert_array_equal(kernel.reshape(6, 8), state["v_proj_weight"].numpy().T)
    back = converters.to_torch(Cross(), variables, example(2, 5, 8), mapping=report)
    assert {key.removeprefix("a.") for key in back} == set(state)


# --- weight normalisation ---


def in_factors(module: torch.nn.Module, old: bool, dim: int | None) -> torch.nn.Module:
    """The module with a normalised weight, whose factors are no weight and its own lengths."""
    if old:
        with pytest.warns(FutureWarning):
            module = torch.nn.utils.weight_norm(module, dim=dim)
    else:
        module = torch.nn.utils.parametrizations.weight_norm(module, dim=dim)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.rand_like(parameter))
    return torch.nn.Sequential(module).eval()


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("dim", [0, 1, None])
def test_a_normalised_weight_is_multiplied_out_and_comes_back(old: bool, dim: int | None) -> None:
    module = in_factors(torch.nn.Conv2d(3, 4, 3, padding=1), old, dim)
    x = example(2, 3, 5, 5)
    model = nn.Conv(4, (3, 3), padding=1)
    variables, report = converters.from_torch(module.state_dict(), model, channels_last(x))
    assert largest_difference(module, model, variables, x) <= 1e-5
    assert any("a factor of the normalised 0.weight" in reason for _, reason in report.dropped)
    back = converters.to_torch(model, variables, channels_last(x), mapping=report)
    want = module.state_dict()
    assert back.keys() == want.keys()
    assert all(torch.equal(back[key], want[key]) for key in want)


@pytest.mark.parametrize("dim", [0, None])
def test_a_trained_weight_is_taken_apart_into_the_same_factors(dim: int | None) -> None:
    module = in_factors(torch.nn.Linear(4, 3), old=False, dim=dim)
    x = example(2, 4)
    variables, report = converters.from_torch(module.state_dict(), nn.Dense(3), x)
    lengths = module.state_dict()["0.parametrizations.weight.original1"].norm(dim=None if dim is None else 1)
    trained = jax.tree.map(lambda value: value * 3 - 1, variables)
    back = converters.to_torch(nn.Dense(3), trained, x, mapping=report)
    module.load_state_dict(back)
    assert largest_difference(module, nn.Dense(3), trained, x) <= 1e-5
    v = back["0.parametrizations.weight.original1"]
    np.testing.assert_allclose(v.norm(dim=None if dim is None else 1), lengths, rtol=1e-5)


def test_a_matrix_of_one_column_is_normalised_too() -> None:
    module = in_factors(torch.nn.Linear(1, 3), old=False, dim=0)
    variables, _ = converters.from_torch(module.state_dict(), nn.Dense(3), example(2, 1))
    assert largest_difference(module, nn.Dense(3), variables, example(2, 1)) <= 1e-5


# --- files ---


def save_safetensors(path: Path, tensors: dict[str, np.ndarray], types: dict[Any, str]) -> None:
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for key, array in tensors.items():
        data = array.tobytes()
        ends = [len(body), len(body) + len(data)]
        header[key] = {"dtype": types[array.dtype.type], "shape": list(array.shape), "data_offsets": ends}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


TYPES: dict[Any, str] = {np.float32: "F32", np.float16: "F16", np.int64: "I64", jnp.bfloat16.dtype.type: "BF16"}


def arrays(dtype: Any = np.float32) -> dict[str, np.ndarray]:
    return {key: tensor.numpy().astype(dtype) for key, tensor in randomized(TorchMlp()).state_dict().items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
def test_safetensors_of_every_precision(tmp_path: Path, dtype: Any) -> None:
    path = tmp_path / "model.safetensors"
    state = arrays(dtype)
    save_safetensors(path, state, TYPES)
    for source in (path, tmp_path):
        variables, report = converters.from_torch(source, Mlp(), X)
        got = np.asarray(variables["params"]["head"]["kernel"])
        np.testing.assert_array_equal(got, state["head.weight"].astype(np.float32).T)
    assert len(report.widened) == (0 if dtype is np.float32 else len(state))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:4], "impossible length"),
        (lambda raw: struct.pack("<Q", 2**60) + raw[8:], "impossible length"),
        (lambda raw: raw[:8] + b"[" + raw[9:], "no JSON"),
        (lambda raw: raw[:-3], "does not fit bytes"),
        (lambda raw: raw.replace(b'"shape": [3, 4]', b'"shape": [9, 4]'), "does not fit bytes"),
        (lambda raw: raw.replace(b'"shape": [3, 4]', b'"shape": [-3,4]'), "does not fit bytes"),
        (lambda raw: raw.replace(b'"dtype": "F32"', b'"dtype": "F31"'), "has the type F31"),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, damage: Any, message: str) -> None:
    path = tmp_path / "model.safetensors"
    save_safetensors(path, arrays(), TYPES)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConversionError, match=message):
        converters.from_torch(path, Mlp(), X)


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_folder_of_shards(tmp_path: Path, ending: str) -> None:
    state = arrays()
    places = {key: f"model-{1 + i % 2}.{ending}" for i, key in enumerate(state)}
    for name in set(places.values()):
        part = {key: state[key] for key, place in places.items() if place == name}
        if ending == "bin":
            torch.save({key: torch.from_numpy(array) for key, array in part.items()}, tmp_path / name)
        else:
            save_safetensors(tmp_path / name, part, TYPES)
    index = tmp_path / ("model.safetensors.index.json" if ending == "safetensors" else "pytorch_model.bin.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    for source in (tmp_path, index):
        variables, _ = converters.from_torch(source, Mlp(), X)
        np.testing.assert_array_equal(variables["params"]["head"]["kernel"], state["head.weight"].T)
    index.write_text(json.dumps({"weight_map": places | {"head.gone": places["head.bias"]}}))
    with pytest.raises(ConversionError, match=r"lacks head\.gone"):
        converters.from_torch(tmp_path, Mlp(), X)
    index.write_text(json.dumps({"weight_map": {"head.bias": "../elsewhere.bin"}}))
    with pytest.raises(ConversionError, match="is not a file name beside the index"):
        converters.from_torch(tmp_path, Mlp(), X)


def test_a_folder_without_a_checkpoint_names_what_it_looks_for(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"holds none of model\.safetensors\.index\.json"):
        converters.from_torch(tmp_path, Mlp(), X)


# --- names ---

RULES = [(r"layers\.(\d)", r"block\1_fc")]


def test_rules_name_modules(tmp_path: Path) -> None:
    state = randomized(TorchMlp()).state_dict()
    variables, report = converters.from_torch(state, Mlp(), X, mapping=RULES, match="name")
    np.testing.assert_array_equal(variables["params"]["block1_fc"]["kernel"], state["layers.1.weight"].numpy().T)
    report.save_mapping(tmp_path / "names.yaml")
    again, second = converters.from_torch(state, Mlp(), X, mapping=tmp_path / "names.yaml", match="name")
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), variables, again))
    assert {row.how for row in second.rows} == {"mapping"}
    other, _ = converters.from_torch(state, Mlp(), X, mapping=report)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), variables, other))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ([(r"layers\.(\d", "x")], "is no regular expression"),
        ([(r"nothing.*", "x")], "no key or module of the checkpoint matches 'nothing"),
        ([(r"layers\.(\d)", r"\2")], "asks for a group"),
        ([("one",)], "expected names"),
        ({"head": 3}, "is not a pair of names"),
        ("missing.yaml", "no such file"),
    ],
)
def test_wrong_rules_are_told(mapping: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        converters.from_torch(TorchMlp().state_dict(), Mlp(), X, mapping=mapping)


# --- looking first, comparing after ---


def test_a_dry_run_reports_the_same_and_reads_no_value() -> None:
    state = randomized(TorchMlp()).half().state_dict()
    _, report = converters.from_torch(state, Mlp(), X)
    state["head.weight"][0, 0] = float("nan")
    nothing, foreseen = converters.from_torch(state, Mlp(), X, dry_run=True)
    assert nothing == {}
    assert foreseen.rows == report.rows
    assert "dry run" in foreseen.summary


def test_a_live_module_is_run_beside_the_model() -> None:
    module = randomized(TorchMlp()).train()
    _, report = converters.from_torch(module, Mlp(), X)
    assert report.largest_difference is not None
    assert report.largest_difference <= 1e-5
    assert module.training
    _, without = converters.from_torch(module, Mlp(), jax.ShapeDtypeStruct((2, 5), jnp.float32))
    assert without.largest_difference is None
    assert "the example input has no values" in without.summary


def test_a_live_module_that_computes_something_else_shows_it() -> None:
    class Other(TorchMlp):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + 1.0

    _, report = converters.from_torch(randomized(Other()), Mlp(), X)
    assert report.largest_difference is not None
    assert report.largest_difference > 0.1


def test_images_are_handed_to_a_live_module_channels_first() -> None:
    module = randomized(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU()))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.relu(nn.Conv(4, (3, 3), padding=1)(x))

    _, report = converters.from_torch(module, Net(), channels_last(example(2, 3, 6, 5)))
    assert report.largest_difference is not None
    assert report.largest_difference <= 1e-5


def test_a_live_module_in_half_precision_is_compared_in_float32() -> None:
    module = randomized(TorchMlp()).bfloat16()
    _, report = converters.from_torch(module, Mlp(), X)
    assert report.largest_difference is not None
    assert report.largest_difference <= 1e-5
    assert next(module.parameters()).dtype == torch.bfloat16


def test_several_outputs_of_a_live_module_are_compared_one_by_one() -> None:
    class Torch(torch.nn.Module):
        def __init__(self, shift: float) -> None:
            super().__init__()
            self.fc, self.shift = torch.nn.Linear(5, 3), shift

        def forward(self, x: Any) -> Any:
            return {"b": self.fc(x) + self.shift, "a": (x, self.fc(x))}

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            y = nn.Dense(3, name="fc")(x)
            return {"a": (x, y), "b": y}

    for shift in (0.0, 2.0):
        _, report = converters.from_torch(Torch(shift), Flax(), X)
        assert report.largest_difference is not None
        assert (report.largest_difference <= 1e-5) == (shift == 0.0)


def test_the_names_of_a_file_lead_back_too(tmp_path: Path) -> None:
    class Other(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(3)(nn.relu(nn.Dense(4)(nn.relu(nn.Dense(4)(x)))))

    state = randomized(TorchMlp()).state_dict()
    variables, report = converters.from_torch(state, Other(), X)
    report.save_mapping(tmp_path / "names.yaml")
    back = converters.to_torch(Other(), variables, X, mapping=tmp_path / "names.yaml")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    (tmp_path / "rules.yaml").write_text("- ['(.*)', '\\1']\n")
    with pytest.raises(ConversionError, match="rules, which cannot be turned around"):
        converters.to_torch(Other(), variables, X, mapping=tmp_path / "rules.yaml")
    with pytest.raises(ConversionError, match="no rules"):
        converters.to_torch(Other(), variables, X, mapping=[("(.*)", r"\1")])  # type: ignore[arg-type]


def test_safetensors_are_written_and_read_back(tmp_path: Path) -> None:
    state = randomized(TorchMlp()).state_dict()
    variables, report = converters.from_torch(state, Mlp(), X)
    converters.save_torch(tmp_path / "back.safetensors", Mlp(), variables, X, mapping=report)
    back = read_safetensors_file(tmp_path / "back.safetensors")
    assert list(back) == list(converters.to_torch(Mlp(), variables, X, mapping=report))
    assert all(np.array_equal(back[key], state[key].numpy()) for key in state)
    every = {name: np.ones((2, 1), dtype) for name, dtype in {"b": np.bool_, "i": np.int64, "h": np.float16}.items()}
    write_safetensors_file(tmp_path / "types.safetensors", every)
    read = read_safetensors_file(tmp_path / "types.safetensors")
    assert {name: array.dtype for name, array in read.items()} == {name: array.dtype for name, array in every.items()}
    with pytest.raises(FileError, match="there is no folder"):
        write_safetensors_file(tmp_path / "nowhere" / "x.safetensors", every)

"""Configurations in files: loading over a base, saving, the round trip, and the files this project ships."""

import errno
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linger_jax.config import (
    ActivationType,
    Arithmetic,
    CalibrateExponent,
    ClampInfo,
    Compat,
    GruForm,
    Lowering,
    Part,
    PartClampInfo,
    PartQuantInfo,
    Platform,
    QatMethod,
    QuantConfig,
    QuantInfo,
    QuantMethod,
    RoundMode,
    Strategy,
    config_save_to_yaml,
    config_to_mapping,
    load_config,
)
from linger_jax.errors import FileError
from linger_jax.targets import packed_platforms

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))
GUIDE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")

BITS = st.integers(2, 32)
CLAMP = st.none() | st.integers(1, 99).map(float) | st.floats(1e-12, 1e12)
WORD = st.text("abc_*.é :#'\"\n-1~", min_size=1, max_size=6)
CLAMP_KEYS = dict.fromkeys(ClampInfo.model_fields, CLAMP)
QUANT_KEYS = {
    "weight_bits": BITS,
    "activate_bits": BITS,
    "bias_bits": BITS,
    "a_strategy": st.sampled_from(Strategy),
    "w_strategy": st.sampled_from(Strategy),
    "round_mode": st.sampled_from([mode for mode in RoundMode if mode is not RoundMode.ceil]),
    "activation_type": st.sampled_from(ActivationType),
    "w_calibrate_name": WORD,
    "a_calibrate_name": WORD,
    "calibrate_exponent": st.sampled_from(CalibrateExponent),
    "arithmetic": st.sampled_from(Arithmetic),
    "gru_form": st.sampled_from(GruForm),
}
METHOD = st.sampled_from(QatMethod)
PART_KEYS = QUANT_KEYS | {"input_bits": st.none() | BITS, "output_bits": st.none() | BITS}
PARTS = st.builds(
    Part,
    name=st.lists(WORD, min_size=1, max_size=3),
    quant_info=st.none() | st.fixed_dictionaries({}, optional=PART_KEYS).map(lambda keys: PartQuantInfo(**keys)),
    clamp_info=st.none() | st.fixed_dictionaries({}, optional=CLAMP_KEYS).map(lambda keys: PartClampInfo(**keys)),
)
CONFIGS = st.builds(
    QuantConfig,
    open_quant=st.booleans(),
    quant_method=st.sampled_from([method for method in QuantMethod if method is not QuantMethod.ONNX]),
    device=st.sampled_from([None, "cpu", "cuda:0"]),
    seed=st.integers(0, 2**32 - 1),
    platform=st.sampled_from(Platform),
    clamp_info=st.builds(ClampInfo, **CLAMP_KEYS),
    quant_info=st.builds(QuantInfo, qat_method=METHOD, **QUANT_KEYS),
    parts=st.lists(PARTS, max_size=12),
    compat=st.sampled_from(Compat),
    lowering=st.sampled_from(Lowering),
    custom_layers=st.booleans(),
    tie_concat_scales=st.none() | st.booleans(),
)


@given(CONFIGS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_loading_what_was_saved_gives_an_equal_configuration(tmp_path, config):
    path = tmp_path / "c.yaml"
    config_save_to_yaml(path, config)
    loaded = load_config(path)
    assert loaded == config
    assert hash(loaded) == hash(config)
    assert load_config(config_to_mapping(config)) == config
    assert [part.section for part in loaded.parts] == sorted(part.section for part in loaded.parts)
    for path in ("a", "b.c", ""):
        mine, theirs = loaded.for_path(path), config.for_path(path)
        assert (mine.quant_info, mine.clamp_info, mine.input_bits, mine.output_bits) == (
            theirs.quant_info,
            theirs.clamp_info,
            theirs.input_bits,
            theirs.output_bits,
        )


def test_onnx_survives_the_round_trip_under_chip(tmp_path):
    config_save_to_yaml(tmp_path / "c.yaml", QuantConfig(quant_method=QuantMethod.ONNX))
    assert load_config(tmp_path / "c.yaml").quant_method is QuantMethod.ONNX


def test_a_saved_file_is_sorted_block_style_with_names_and_without_calibration(tmp_path):
    config = QuantConfig(parts=(Part(name="fc1", quant_info=QuantInfo(round_mode=RoundMode.round)),))
    path = tmp_path / "c.yaml"
    config_save_to_yaml(path, config)
    text = path.read_text(encoding="utf-8")
    top = [line.split(":")[0] for line in text.splitlines() if not line.startswith((" ", "-"))]
    assert top == sorted(top)
    assert set(top) == set(QuantConfig.model_fields) - {"parts"} | {"part1"}
    assert "dtype: torch.float32\n" in text
    assert "platform: venusA\n" in text
    assert "  clamp_activation_value: null\n" in text
    assert "part1:\n  name:\n  - fc1\n  quant_info:\n    round_mode: round\n" in text
    assert not set("{}[]!") & set(text)


def test_more_than_nine_parts_keep_their_precedence(tmp_path):
    parts = tuple(Part(name="a", quant_info=QuantInfo(weight_bits=2 + i)) for i in range(12))
    config_save_to_yaml(tmp_path / "c.yaml", QuantConfig(parts=parts))
    assert load_config(tmp_path / "c.yaml").parts == parts
    assert list(config_to_mapping(QuantConfig(parts=parts)))[-12:-10] == ["part01", "part02"]


def test_saving_makes_folders_and_takes_a_bare_file_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config_save_to_yaml("bare.yaml", QuantConfig(seed=7))
    config_save_to_yaml("new/deep/c.yaml", QuantConfig(seed=7))
    assert load_config("bare.yaml") == load_config(tmp_path / "new/deep/c.yaml") == QuantConfig(seed=7)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    config_save_to_yaml(path, QuantConfig(seed=1))

    def full_disk(partial, target):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(FileError, match="disk full"):
        config_save_to_yaml(path, QuantConfig(seed=2))
    assert load_config(path).seed == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.yaml"]


def test_saving_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "link.yaml").symlink_to(tmp_path / "real.yaml")
    config_save_to_yaml(tmp_path / "link.yaml", QuantConfig(seed=3))
    assert (tmp_path / "link.yaml").is_symlink()
    assert load_config(tmp_path / "real.yaml").seed == 3


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "null\n", "{}\n", "quant_info:\nclamp_info:\n"])
def test_an_empty_file_and_empty_sections_give_the_defaults(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert load_config(path) == load_config() == load_config({}) == QuantConfig()


def test_loading_over_a_base_goes_key_by_key_and_replaces_the_parts():
    base = load_config({"seed": 1, "quant_info": {"weight_bits": 4}, "p": {"name": "a"}})
    loaded = load_config({"quant_info": {"bias_bits": 16}, "q": {"name": "b"}}, base=base)
    assert loaded == QuantConfig(seed=1, quant_info=QuantInfo(weight_bits=4, bias_bits=16), parts=(Part(name="b"),))
    assert load_config({"seed": 2}, base=loaded).parts == ()
    assert load_config(None, base=base) == base
    assert load_config(loaded, base=base) == loaded


def test_overrides_win_and_keep_the_parts_unless_they_name_some():
    config = load_config({"p": {"name": "a"}}, overrides={"quant_info": {"weight_bits": 4}})
    assert (config.quant_info.weight_bits, config.parts) == (4, (Part(name="a"),))
    assert load_config(config, overrides={"clamp_info": {"clamp_factor_value": None}}).parts == config.parts
    assert load_config(config, overrides={"x": {"name": "b"}}).parts == (Part(name="b"),)
    assert load_config({"quant_info": QuantInfo(bias_bits=16)}, overrides={"quant_info": {"weight_bits": 4}}) == (
        QuantConfig(quant_info=QuantInfo(bias_bits=16, weight_bits=4))
    )
    assert config.parts[0].section == "p"


def test_overriding_keeps_parts_whose_labels_are_equal_or_look_like_positions():
    labelled = load_config({"part2": {"name": "a"}}).parts[0]
    config = QuantConfig(parts=(labelled, Part(name="b"), labelled))
    assert load_config(config, overrides={"seed": 1}).parts == config.parts


def test_dtype_is_accepted_in_both_spellings():
    assert load_config({"dtype": "float32"}) == load_config({"dtype": "torch.float32"})


def test_merge_keys_and_anchors_of_yaml_work(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "a: {name: [x], quant_info: &narrow {weight_bits: 4}}\nb: {name: y, quant_info: {<<: *narrow, bias_bits: 16}}\n"
    )
    config = load_config(path)
    assert config.for_path("y").quant_info == QuantInfo(weight_bits=4, bias_bits=16)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_load(path):
    assert load_config(path).open_quant


def test_the_shipped_platform_files_are_the_commented_defaults():
    for platform in packed_platforms():
        path = ROOT / f"configs/{platform}.yaml"
        assert load_config(path) == QuantConfig(platform=platform)
        assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) == set(QuantConfig.model_fields) - {"parts"}


def test_the_shipped_variations_set_what_their_names_say():
    assert load_config(ROOT / "configs/tqt.yaml").quant_info.qat_method is QatMethod.TQT
    assert load_config(ROOT / "configs/w4a8.yaml").quant_info.weight_bits == 4
    assert load_config(ROOT / "configs/a16.yaml").quant_info.activate_bits == 16
    mixed = load_config(ROOT / "configs/mixed_precision.yaml")
    assert {path: mixed.for_path(path).quant_info.weight_bits for path in ("conv1", "conv2", "classifier.fc1")} == {
        "conv1": 8,
        "conv2": 4,
        "classifier.fc1": 8,
    }
    assert len(SHIPPED) == 4 + len(packed_platforms())


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL))
def test_yaml_in_the_configuration_guide_loads(tmp_path, block):
    path = tmp_path / "c.yaml"
    path.write_text(block, encoding="utf-8")
    assert load_config(path).parts


@pytest.mark.parametrize("section", [QuantConfig, QuantInfo, ClampInfo])
def test_the_configuration_guide_lists_every_key_with_its_default(section):
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`|[^|]*) \|", GUIDE, re.MULTILINE))
    mapping = config_to_mapping(QuantConfig(clamp_info=ClampInfo()))
    values = mapping if section is QuantConfig else mapping[{QuantInfo: "quant_info", ClampInfo: "clamp_info"}[section]]
    for key, value in values.items():
        assert key in rows
        if not isinstance(value, dict):
            assert yaml.safe_load(rows[key]) == value

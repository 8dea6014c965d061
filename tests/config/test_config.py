"""The configuration as a value: defaults, golden files, parts, equality."""

import json
import pickle
from pathlib import Path

import pytest

from linger_jax.config import (
    ClampInfo,
    Compat,
    Part,
    Platform,
    QatMethod,
    QuantConfig,
    QuantInfo,
    RoundMode,
    check_device,
    config_to_mapping,
    load_config,
)
from linger_jax.errors import LingerWarning

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/data/layers"
GOLDEN_FILES = sorted(GOLDEN.glob("config_*.yaml"))
DEFAULTS = json.loads((ROOT / "linger_jax/numerics/tables/config_defaults.json").read_text(encoding="utf-8"))


def as_golden(layer):
    """A ``LayerConfig`` in the words of the golden files."""
    return {
        "weight_bits": layer.quant_info.weight_bits,
        "bias_bits": layer.quant_info.bias_bits,
        "input_bits": layer.input_bits,
        "output_bits": layer.output_bits,
        "clamp_activation": layer.clamp_info.clamp_activation_value,
        "clamp_bias": layer.clamp_info.clamp_bias_value,
        "clamp_factor": layer.clamp_info.clamp_factor_value,
        "clamp_weight": layer.clamp_info.clamp_weight_value,
    }


def expectation(path):
    return json.loads(path.with_suffix(".expected.json").read_text(encoding="utf-8"))


def reference_config(path):
    """Loads as the reference does; what it would ignore or print is a warning here."""
    if "unknown" not in path.stem:
        return load_config(path, overrides={"compat": "reference"})
    with pytest.warns(LingerWarning):
        return load_config(path, overrides={"compat": "reference"})


@pytest.mark.parametrize("path", GOLDEN_FILES, ids=lambda path: path.stem)
def test_golden_file_gives_the_reference_configuration_under_compat_reference(path):
    expected = expectation(path)["reference_config"]
    mapping = config_to_mapping(reference_config(path))
    del expected["calibration"]  # never saved
    for key, value in expected.items():
        if isinstance(value, dict):  # the reference's quant_info lacks activation_type: one of its defects
            assert {inner: mapping[key][inner] for inner in value} == value
        else:
            assert mapping[key] == value


@pytest.mark.parametrize("path", GOLDEN_FILES, ids=lambda path: path.stem)
def test_golden_file_gives_the_reference_layers_under_compat_reference(path):
    config = reference_config(path)
    layers = expectation(path)["reference_layers"]
    assert {name: as_golden(config.for_path(name)) for name in layers} == layers


def test_golden_parts_overlay_the_global_section_under_chip():
    path = GOLDEN / "config_parts.yaml"
    layers = expectation(path)["wanted_layers"]
    config = load_config(path)
    assert {name: as_golden(config.for_path(name)) for name in layers} == layers


def test_the_golden_files_are_all_there():
    assert len(GOLDEN_FILES) == 4


def _of_the_reference(quant_info):
    """Without the keys that linger_jax adds."""
    added = ("calibrate_exponent", "calibrate_percentile", "arithmetic", "gru_form")
    return {key: value for key, value in quant_info.items() if key not in added}


def test_defaults_under_reference_are_those_of_the_table():
    mapping = config_to_mapping(QuantConfig(compat="reference"))
    for key in ("open_quant", "quant_method", "dtype", "seed", "platform", "clamp_info", "quant_info"):
        assert DEFAULTS[key] == (mapping[key] if key != "quant_info" else _of_the_reference(mapping[key]))
    assert (QuantConfig().compat, QuantConfig().device) == (Compat.chip, None)


def test_defaults_under_chip_are_those_of_the_table_but_for_calibration_and_clamps():
    """Chosen by measurement (docs/decisions.md D25 and D26)."""
    mapping, lingers = config_to_mapping(QuantConfig()), config_to_mapping(QuantConfig(compat="reference"))
    methods = {"w_calibrate_name": "mse", "a_calibrate_name": "mse"}
    assert mapping["quant_info"] == lingers["quant_info"] | methods
    assert set(mapping["clamp_info"].values()) == {None}
    assert {k: v for k, v in mapping.items() if k not in ("quant_info", "clamp_info", "compat")} == {
        k: v for k, v in lingers.items() if k not in ("quant_info", "clamp_info", "compat")
    }


def test_a_default_follows_compat_until_it_is_named():
    config = load_config({"quant_info": {"weight_bits": 4}})
    as_linger = load_config(config, overrides={"compat": "reference"})
    assert (as_linger.quant_info.a_calibrate_name, as_linger.quant_info.weight_bits) == ("top_10", 4)
    assert as_linger.clamp_info == ClampInfo()
    named = load_config({"quant_info": {"a_calibrate_name": "mse"}, "clamp_info": {"clamp_activation_value": None}})
    as_linger = load_config(named, overrides={"compat": "reference"})
    assert (as_linger.quant_info.a_calibrate_name, as_linger.quant_info.w_calibrate_name) == ("mse", "abs_max")
    assert as_linger.clamp_info == ClampInfo(clamp_activation_value=None)


@pytest.mark.parametrize("text", ["", "clamp_info:", "quant_info: {weight_bits: 4}"])
def test_a_file_without_clamps_has_none(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    assert not any(dict(load_config(path).clamp_info).values())
    assert not load_config(path).names_clamps


def test_a_section_that_names_one_clamp_has_lingers_for_the_others():
    config = load_config({"clamp_info": {"clamp_activation_value": 4.0}})
    assert config.clamp_info == ClampInfo(clamp_activation_value=4.0, clamp_factor_value=7.0)
    assert config.names_clamps
    more = load_config(config, overrides={"clamp_info": {"clamp_bias_value": 1.0}})
    assert more.clamp_info == ClampInfo(clamp_activation_value=4.0, clamp_bias_value=1.0)


@pytest.mark.parametrize("key", DEFAULTS["enums"])
def test_enum_members_are_the_references_names(key):
    section, names = key.split(",")[0], list(DEFAULTS["enums"][key])
    owner = QuantConfig if section in QuantConfig.model_fields else QuantInfo
    members = [member.name for member in owner.model_fields[section].annotation]
    # linger has neither this method, nor chips that are younger than it.
    added = {"quant_method": {"ONNX"}, "platform": set(members) - set(names)}.get(section, set())
    assert set(members) == {*names, *added}
    assert all(member.name == member.value for member in owner.model_fields[section].annotation)


def test_a_module_belongs_to_the_first_part_that_names_it_or_an_ancestor():
    parts = (
        Part(name=("block.conv1",), quant_info=QuantInfo(weight_bits=4)),
        Part(name="block*", quant_info=QuantInfo(weight_bits=6)),
        Part(name="head", clamp_info=ClampInfo(clamp_bias_value=1.0)),
    )
    config = QuantConfig(parts=parts)
    widths = {
        p: config.for_path(p).quant_info.weight_bits for p in ("block.conv1.x", "block.conv10", "block", "blocks")
    }
    assert widths == {"block.conv1.x": 4, "block.conv10": 6, "block": 6, "blocks": 8}
    assert [config.for_path(p).part for p in ("block.conv1", "block", "head", "", "fc")] == [
        "part1",
        "part2",
        "part3",
        None,
        None,
    ]
    assert config.unmatched_part_names(["block.conv1", "block.conv2"]) == ("head",)


def test_a_part_keeps_the_key_of_its_file_as_a_label(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("heads: {name: [q, k]}\nparty: {name: out}\n")
    config = load_config(path)
    assert [config.for_path(p).part for p in ("k", "out.dense")] == ["heads", "party"]
    assert config == QuantConfig(parts=(Part(name=["q", "k"]), Part(name="out")))


def test_a_part_names_null_and_default_values_too():
    config = QuantConfig(
        clamp_info=ClampInfo(clamp_bias_value=2.0),
        quant_info=QuantInfo(activate_bits=16),
        parts=(
            Part(
                name="a",
                clamp_info=ClampInfo(clamp_bias_value=None, clamp_factor_value=None),
                quant_info=QuantInfo(activate_bits=8),
            ),
        ),
    )
    layer = config.for_path("a")
    assert (layer.clamp_info.clamp_bias_value, layer.clamp_info.clamp_factor_value) == (None, None)
    assert (layer.input_bits, layer.output_bits, layer.quant_info.activate_bits) == (8, 8, 8)
    assert layer.clamp_info.clamp_activation_value == 8


def test_parts_that_name_other_keys_differ_even_where_all_values_are_equal():
    named, silent = Part(name="a", quant_info=QuantInfo(weight_bits=8)), Part(name="a", quant_info=QuantInfo())
    assert named != silent
    assert QuantConfig(parts=(named,)) != QuantConfig(parts=(silent,))
    assert hash(named) == hash(Part(name=["a"], quant_info={"weight_bits": 8}))


def test_reference_parts_keep_the_global_qat_method_and_fall_back_to_class_defaults():
    config = load_config(
        {
            "compat": "reference",
            "quant_info": {"qat_method": "TQT", "round_mode": "floor", "weight_bits": 4},
            "p": {"name": ["a"], "quant_info": {"qat_method": "MOM", "activate_bits": 16}},
        }
    )
    info = config.for_path("a").quant_info
    methods = {"a_calibrate_name": "top_10", "w_calibrate_name": "abs_max"}
    assert info == QuantInfo(qat_method=QatMethod.TQT, activate_bits=16, **methods)
    assert config.for_path("b").quant_info.round_mode is RoundMode.floor


def test_reference_takes_a_plain_name_apart_and_a_star_literally():
    with pytest.warns(LingerWarning, match=r"p\.name: the text 'fc1' is taken apart into letters"):
        config = load_config({"compat": "reference", "p": {"name": "fc1", "quant_info": {"weight_bits": 4}}})
    assert [config.for_path(path).part for path in ("fc1", "f", "c.x")] == [None, "p", "p"]
    config = load_config({"compat": "reference", "p": {"name": ["fc*"]}})
    assert config.for_path("fc").part is None
    assert config.unmatched_part_names(["fc"]) == ("fc*",)


def test_options_of_the_chip_are_off_under_compat_reference():
    assert QuantConfig().ties_concat_scales
    assert QuantConfig().quantizes_custom_layers
    assert not QuantConfig(platform=Platform.arcs).ties_concat_scales
    assert QuantConfig(platform=Platform.arcs, tie_concat_scales=True).ties_concat_scales
    assert not QuantConfig(tie_concat_scales=False).ties_concat_scales
    assert not QuantConfig(custom_layers=False).quantizes_custom_layers
    reference = QuantConfig(compat=Compat.reference, tie_concat_scales=True)
    assert not reference.ties_concat_scales
    assert not reference.quantizes_custom_layers


def test_configurations_are_frozen_hashable_and_survive_pickling():
    config = load_config(GOLDEN / "config_parts.yaml")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1
    assert {config: 1}[load_config(GOLDEN / "config_parts.yaml")] == 1
    layer = config.for_path("fc1")
    assert {layer: 1}[config.for_path("fc1")] == 1
    revived = pickle.loads(pickle.dumps(config))
    assert revived == config
    assert revived.for_path("fc1") == layer


def test_equal_settings_make_equal_layers_whatever_wrote_them():
    written = load_config({"quant_info": {"weight_bits": 8}, "p": {"name": "a", "quant_info": {"weight_bits": 8}}})
    assert written.for_path("b") == QuantConfig().for_path("b")
    assert written.for_path("a").quant_info == QuantConfig().quant_info
    assert hash(written.for_path("a").quant_info) == hash(QuantConfig().quant_info)


def test_a_section_of_a_part_serves_as_a_global_one_with_the_keys_it_names():
    overlay = Part(name="a", quant_info=QuantInfo(weight_bits=4)).quant_info
    assert QuantConfig(quant_info=overlay).quant_info == QuantInfo(weight_bits=4)
    assert type(QuantConfig(quant_info=overlay).quant_info) is QuantInfo


def test_check_device_warns_only_for_a_platform_that_is_not_there():
    check_device(QuantConfig())
    check_device(QuantConfig(device="cpu:0"))
    with pytest.warns(LingerWarning, match=r"asks for 'tpu:1', JAX has cpu here.*set device to one of these"):
        check_device(QuantConfig(device="tpu:1"))

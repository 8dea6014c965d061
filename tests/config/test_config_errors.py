"""Every way a configuration is refused, asserted on what the message says."""

import os

import pytest

from linger_jax.config import Part, Platform, QuantConfig, QuantInfo, RoundMode, load_config
from linger_jax.errors import ConfigError, LingerError, LingerWarning

QUANT_KEYS = ", ".join(QuantInfo.model_fields)
PLATFORMS = ", ".join(Platform)


def refusal(source, **options):
    with pytest.raises(ConfigError) as caught:
        load_config(source, **options)
    return str(caught.value)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "my.yaml"

    def write(text):
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            {"platform": "venusa"},
            "platform: unknown value 'venusa'. Did you mean 'venusA'? Allowed: venus, mars, arcs,",
        ),
        ({"platform": "pluto"}, f"platform: unknown value 'pluto'. Allowed: {PLATFORMS}"),
        ({"platform": 4}, f"platform: expected one of {PLATFORMS}, got 4"),
        ({"platform": None}, f"platform: expected one of {PLATFORMS}, got nothing (null)"),
        (
            {"compat": "refrence"},
            "compat: unknown value 'refrence'. Did you mean 'reference'? Allowed: chip, reference",
        ),
        ({"lowering": "fast"}, "lowering: unknown value 'fast'. Allowed: auto, stock"),
        ({"quant_methd": "CUDA"}, "quant_methd: unknown key. Did you mean 'quant_method'? Allowed: open_quant,"),
        ({"nonsense": 3}, "nonsense: unknown key. Allowed: open_quant, quant_method, device, dtype, seed, platform,"),
        ({"weight_bits": 4}, "weight_bits: unknown key. 'weight_bits' belongs in quant_info"),
        ({"input_bits": 4}, "input_bits: unknown key. 'input_bits' belongs in the quant_info of a part"),
        ({"clamp_factor_value": 4}, "clamp_factor_value: unknown key. 'clamp_factor_value' belongs in clamp_info"),
        ({"half": {"quant_info": {}}}, "A mixed-precision part needs a `name` list, which this section lacks"),
        ({"parts": []}, "parts: each part is a section of its own at the top level"),
        ({"open_quant": "yes"}, "open_quant: expected true or false, got the text 'yes'"),
        ({"open_quant": 1}, "open_quant: expected true or false, got 1"),
        ({"tie_concat_scales": 0}, "tie_concat_scales: expected true or false, got 0"),
        ({"seed": True}, "seed: expected a whole number, got true"),
        ({"seed": -1}, "seed: -1 is out of range. Allowed: 0 to 4294967295"),
        ({"seed": 2**32}, "seed: 4294967296 is out of range. Allowed: 0 to 4294967295"),
        (
            {"device": "gpu 0"},
            "device: expected the name of a JAX platform, such as cpu, gpu, cuda or tpu, got the text",
        ),
        (
            {"dtype": "torch.float16"},
            "dtype: 'float16' is refused: scales, thresholds and integers are exact in float32",
        ),
        ({"dtype": 32}, "dtype: expected text, got 32"),
        ({"quant_info": 8}, "quant_info: expected a section with keys of its own, got 8"),
        ({"quant_info": [8]}, "quant_info: expected a section with keys of its own, got [8]"),
        ({"quant_info": {"weight_bits": "8"}}, "expected a whole number, got the text '8'; write 8, without quotes"),
        ({"quant_info": {"weight_bits": "eight"}}, "expected a whole number, got the text 'eight'"),
        ({"quant_info": {"weight_bits": 8.5}}, "quant_info.weight_bits: expected a whole number, got 8.5"),
        ({"quant_info": {"weight_bits": True}}, "quant_info.weight_bits: expected a whole number, got true"),
        ({"quant_info": {"weight_bits": None}}, "quant_info.weight_bits: expected a whole number, got nothing (null)"),
        ({"quant_info": {"weight_bits": {"a": 1}}}, "expected a whole number, got a section with the keys a"),
        ({"quant_info": {"weight_bits": 1}}, "quant_info.weight_bits: 1 is out of range. Allowed: 2 to 32"),
        ({"quant_info": {"bias_bits": 33}}, "quant_info.bias_bits: 33 is out of range. Allowed: 2 to 32"),
        ({"quant_info": {"a_calibrate_name": ""}}, "quant_info.a_calibrate_name: expected some text, got the text ''"),
        ({"quant_info": {"colour": "red"}}, f"quant_info.colour: unknown key. Allowed: {QUANT_KEYS}"),
        ({"quant_info": {"quant_method": "CUDA"}}, "'quant_method' belongs at the top level"),
        ({"quant_info": {"output_bits": 8}}, "'output_bits' belongs in the quant_info of a part"),
        ({"quant_info": {"activation_bits": 8}}, "'activation_bits' belongs here under the name activate_bits"),
        ({"quant_info": {4: 8}}, "quant_info.4: a key is text, got 4"),
        ({"quant_info": {"round_mode": "up"}}, "quant_info.round_mode: unknown value 'up'. Allowed: floor, floor_add,"),
        (
            {"quant_info": {"round_mode": "ceil"}},
            "quant_info.round_mode: 'ceil' is refused: the reference toolkit comp",
        ),
        ({"quant_info": {"is_perchannel": True}}, "true is refused: the chip keeps one power-of-two scale per tensor"),
        (
            {"quant_info": {"is_symmetry": False}},
            "quant_info.is_symmetry: false is refused: the chip has no zero points",
        ),
        ({"clamp_info": {"clamp_bias_value": 0}}, "0 is out of range. Allowed: more than 0, or null for no clamp"),
        ({"clamp_info": {"clamp_bias_value": -1.5}}, "clamp_info.clamp_bias_value: -1.5 is out of range"),
        ({"clamp_info": {"clamp_bias_value": True}}, "clamp_info.clamp_bias_value: expected a number, got true"),
        ({"clamp_info": {"clamp_bias_value": float("nan")}}, "expected a finite number; null switches it off, got nan"),
        ({"clamp_info": {"clamp_bias_value": float("inf")}}, "expected a finite number; null switches it off, got inf"),
        ({"p": {"name": []}}, "p.name: expected at least one, got []"),
        ({"p": {"name": None}}, "p.name: expected a list, got nothing (null)"),
        ({"p": {"name": ["a", 3]}}, "p.name[1]: expected text, got 3"),
        ({"p": {"name": ["a", ""]}}, "p.name[1]: expected some text, got the text ''"),
        (
            {"p": {"name": "a", "weight_bits": 4}},
            "p.weight_bits: unknown key. 'weight_bits' belongs in the part's quant",
        ),
        ({"p": {"name": "a", "quant_inf": {}}}, "p.quant_inf: unknown key. Did you mean 'quant_info'? Allowed: name,"),
        ({"p": {"name": "a", "quant_info": {"input_bits": 64}}}, "p.quant_info.input_bits: 64 is out of range"),
        ({"p": {"name": "a", "quant_info": {"inputbits": 8}}}, "Did you mean 'input_bits'?"),
        (
            {"p": {"name": "a", "quant_info": {"qat_method": "TQT"}}},
            "p.quant_info.qat_method: a part cannot change qat_method, it is global (MOM) and this part asks for TQT",
        ),
        (
            {"p": {"name": "a", "quant_method": "CUDA"}},
            "p.quant_method: a part cannot change quant_method, it is global (NATIVE)",
        ),
        ({"p": {"name": "a", "quant_info": {"is_perchannel": True}}}, "p.quant_info.is_perchannel: true is refused"),
        ({"p": {"name": "a", "quant_info": {"round_mode": "ceil"}}}, "p.quant_info.round_mode: 'ceil' is refused"),
        ({5: 3}, "5: a key is text, got 5"),
    ],
)
def test_a_bad_key_or_value_is_refused_with_place_and_remedy(mapping, message):
    text = refusal(mapping)
    assert text.startswith("configuration: ")
    assert message in text


def test_one_error_lists_every_problem_with_file_and_line(written):
    path = written("platform: venusa\nquant_info:\n  weight_bits: '8'\nheads:\n  name: [q]\n  clamp_info: {clmp: 1}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides={"seed": -3})
    first, *rest = str(caught.value).splitlines()
    assert first == "4 problems"
    assert sorted(line.strip().split(": ")[0:2] for line in rest) == sorted(
        [
            [f"{path}, line 1", "platform"],
            [f"{path}, line 3", "quant_info.weight_bits"],
            [f"{path}, line 6", "heads.clamp_info.clmp"],
            ["overrides", "seed"],
        ]
    )
    assert {problem.key_path for problem in caught.value.problems} == {
        "platform",
        "quant_info.weight_bits",
        "heads.clamp_info.clmp",
        "seed",
    }
    assert isinstance(caught.value, LingerError)


def test_an_override_that_breaks_a_key_of_the_file_is_blamed_for_it(written):
    path = written("quant_info: {weight_bits: 4, activate_bits: 8}\n")
    text = refusal(path, overrides={"quant_info": {"weight_bits": 1}})
    assert text == "overrides: quant_info.weight_bits: 1 is out of range. Allowed: 2 to 32"


def test_yaml_reads_1e_3_as_text_and_the_error_says_how_to_write_it(written):
    path = written("clamp_info:\n  clamp_weight_value: 1e-3\n")
    assert refusal(path) == (
        f"{path}, line 2: clamp_info.clamp_weight_value: expected a number, got the text '1e-3'; write 0.001, without "
        "quotes and with a decimal point"
    )


def test_a_key_given_twice_is_refused_with_both_lines(written):
    path = written("platform: venus\nseed: 1\nplatform: mars\n")
    assert refusal(path) == f"{path}: the key 'platform' stands on line 1 and again on line 3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("platform: [", "not a readable YAML file"),
        ("a: \x00", "not a readable YAML file"),
        ("- platform: venus\n", "expected `key: value` lines at the top of the file, found [{'platform': 'venus'}]"),
        ("venus\n", "expected `key: value` lines at the top of the file, found 'venus'"),
        ("&a {quant_info: *a}\n", "an alias stands inside what it refers to"),
        ("parts: [!!python/object:linger.Part {}]\n", "Write each part as a section of its own"),
        ("platform: venus\n---\nplatform: mars\n", "expected a single document"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(written, text, message):
    path = written(text)
    refused = refusal(path)
    assert refused.startswith(f"{path}: ")
    assert message in refused


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    missing = tmp_path / "missing.yaml"
    assert refusal(missing) == f"{missing}: no such file"
    assert refusal(os.fspath(tmp_path)).startswith(f"{tmp_path}: is a folder")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00platform")
    assert refusal(binary).startswith(f"{binary}: is truncated, damaged or no YAML file (UnicodeDecodeError")


def test_something_that_is_no_configuration_at_all_is_refused():
    assert refusal(3) == "a configuration is a path, a mapping or a QuantConfig, got a int"


def test_the_constructors_refuse_with_the_same_family_and_the_same_words():
    with pytest.raises(ConfigError, match=r"QuantConfig: platform: unknown value 'venusa'\. Did you mean 'venusA'"):
        QuantConfig(platform="venusa")
    with pytest.raises(ConfigError, match=r"QuantInfo: weight_bits: 64 is out of range"):
        QuantInfo(weight_bits=64)
    with pytest.raises(ConfigError, match=r"Part: name: this key is needed"):
        Part(quant_info=QuantInfo())
    with pytest.raises(ConfigError) as caught:
        QuantConfig(quant_info={"weight_bits": 1, "bias_bits": 1}, parts=[{"name": "a", "clamp_info": {"x": 1}}])
    assert [problem.key_path for problem in caught.value.problems] == [
        "quant_info.weight_bits",
        "quant_info.bias_bits",
        "parts[0].clamp_info.x",
    ]
    with pytest.raises(ConfigError, match=r"'input_bits' belongs in the quant_info of a part"):
        QuantConfig(quant_info=Part(name="a", quant_info={"input_bits": 4}).quant_info)


def test_a_part_may_repeat_what_is_global():
    part = {"name": "a", "quant_method": "CUDA", "quant_info": {"qat_method": "TQT"}}
    config = load_config({"quant_method": "CUDA", "quant_info": {"qat_method": "TQT"}, "p": part})
    assert config.for_path("a").quant_info == config.quant_info


def test_reference_stores_what_has_no_effect_and_warns_about_what_it_ignores(written):
    path = written(
        "compat: reference\nquant_method: ONNX\ncolour: red\nhalf: {clamp_info: {}}\nparts: [1]\ncalibration: true\n"
        "dtype: torch.float16\nquant_info: {is_perchannel: true, is_symmetry: false, round_mode: ceil, a_strategy: X}\n"
        "p: {name: [a], quant_method: CUDA_GS, quant_info: {qat_method: TQT}, extra: 1}\n"
    )
    with pytest.warns(LingerWarning) as caught:
        config = load_config(path)
    assert config == QuantConfig(
        compat="reference",
        dtype="float16",
        quant_info=QuantInfo(is_perchannel=True, is_symmetry=False, round_mode=RoundMode.ceil),
        parts=(Part(name="a", quant_method="CUDA_GS", quant_info=QuantInfo(qat_method="TQT")),),
    )
    assert config.for_path("a").quant_info.qat_method == "MOM"
    notes = [str(warning.message).removeprefix(f"{path}, ") for warning in caught]
    assert notes == [
        "line 2: quant_method: unknown value 'ONNX', the key stays as it was",
        "line 3: colour: unknown key, ignored",
        "line 4: half: unknown key, ignored",
        "line 5: parts: unknown key, ignored",
        "line 8: quant_info.a_strategy: unknown value 'X', the key stays as it was",
        "line 9: p.extra: unknown key, ignored",
    ]
    assert all(warning.filename == __file__ for warning in caught)


def test_reference_refuses_a_value_of_another_type_as_chip_does():
    assert "expected a whole number" in refusal({"compat": "reference", "quant_info": {"weight_bits": "8"}})

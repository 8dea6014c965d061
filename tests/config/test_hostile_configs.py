"""YAML that would take memory or time without end, and messages that stay readable."""

import pytest

from linger_jax.config import QuantConfig, config_save_to_yaml, load_config
from linger_jax.errors import ConfigError

NINE = range(9)
BOMBS = {
    "lists": [f"a{j}: &a{j} [{', '.join([f'*a{j - 1}'] * 9)}]" for j in range(1, 12)],
    "mappings": [f"a{j}: &a{j} {{{', '.join(f'k{w}: *a{j - 1}' for w in NINE)}}}" for j in range(1, 12)],
    "merged sections": [f"a{j}: &a{j} {{<<: [{', '.join([f'*a{j - 1}'] * 9)}]}}" for j in range(1, 12)],
}


def refusal(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", BOMBS)
def test_aliases_that_stand_for_billions_of_entries_are_refused(tmp_path, kind):
    text = "\n".join(["a0: &a0 {k: x}", *BOMBS[kind]])
    assert "holds more than 100,000 entries, aliases written out" in refusal(tmp_path, text)


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: *a}", "a: &a {<<: *a}"])
def test_an_alias_inside_what_it_names_is_refused(tmp_path, text):
    assert "an alias stands inside what it refers to" in refusal(tmp_path, text)


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{b: " * 500 + "1" + "}" * 500, "- " * 5000])
def test_what_is_nested_without_end_is_refused(tmp_path, text):
    assert "is nested more than 64 deep" in refusal(tmp_path, text)


@pytest.mark.parametrize("value", ["1:" * 50_000 + "1", "0x" + "f" * 6000, "9" * 6000, "a" * 100_000])
def test_values_longer_than_any_setting_are_refused(tmp_path, value):
    text = refusal(tmp_path, f"seed: {value}\n")
    assert "a value of more than" in text
    assert len(text) < 1000


@pytest.mark.parametrize("text", ["seed: !!int ''", "seed: !!timestamp soon", "seed: 2001-99-99", "? [a]\n: b"])
def test_values_over_which_the_parser_stumbles_are_refused(tmp_path, text):
    refusal(tmp_path, text)


def test_a_file_larger_than_any_configuration_is_refused(tmp_path):
    assert "at most 1,048,576" in refusal(tmp_path, "#" * (1 << 20) + "\n")


def test_of_thousands_of_unknown_keys_a_hundred_are_told(tmp_path):
    text = refusal(tmp_path, "".join(f"key{i}: 1\n" for i in range(20_000)))
    assert "100 problems" in text
    assert "key99: unknown key" in text


def test_an_alias_that_is_used_as_people_do_is_read(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("quant_info: &q {weight_bits: 4}\npart1: {name: [head], quant_info: {<<: *q, activate_bits: 8}}\n")
    assert load_config(path).parts[0].quant_info.weight_bits == 4


def test_a_configuration_in_the_place_of_the_path_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="the path and the configuration are turned around"):
        config_save_to_yaml(QuantConfig(), tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="wants a path and a QuantConfig; got a dict"):
        config_save_to_yaml(tmp_path / "c.yaml", {})
    assert not list(tmp_path.iterdir())

"""Whatever a file is and whatever a parser raises over it: one error that names the file."""

import os

import pytest

from linger_jax.errors import ConfigError, ConversionError, ExportError
from linger_jax.foreign_file import foreign_file, require_name, translated


def refusal(path, **options):
    with (
        pytest.raises(ConversionError) as caught,
        foreign_file(path, ConversionError, "letter", "ask again", **options),
    ):
        path.read_bytes()
    return str(caught.value)


def test_what_is_no_regular_file_is_refused_unopened(tmp_path):
    pipe, device, loop = tmp_path / "pipe", tmp_path / "device", tmp_path / "loop"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    loop.symlink_to(loop)
    assert (
        refusal(pipe) == f"{pipe}: is not a file but a pipe, socket or device, which may never end; copy it to a file"
    )
    assert refusal(device).startswith(f"{device}: is not a file but a pipe, socket or device")
    assert refusal(loop) == f"{loop}: cannot be read ({os.strerror(40)})"
    assert refusal(tmp_path) == f"{tmp_path}: is a folder, not a file; name the file itself"
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: no such file"


def test_a_file_beyond_the_limit_is_refused(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(bytes(11))
    assert refusal(path, most_bytes=10) == f"{path}: has 11 bytes; such a file has at most 10"


@pytest.mark.parametrize("foreign", [KeyError("a"), RecursionError("deep"), MemoryError(), ZeroDivisionError("0")])
def test_exceptions_of_parsers_become_one_error_with_their_reason(tmp_path, foreign):
    path = tmp_path / "letter"
    path.touch()
    with pytest.raises(ConversionError) as caught, foreign_file(path, ConversionError, "letter", "ask again"):
        raise foreign
    text = str(caught.value)
    assert text.startswith(f"{path}: is truncated, damaged or no letter ({type(foreign).__name__}")
    assert text.endswith("; ask again")
    assert caught.value.__cause__ is foreign


def test_an_error_of_ours_passes_once_it_says_where():
    told, untold = ConfigError("a.yaml: is empty"), ConfigError("is empty")
    with pytest.raises(ConfigError) as caught, translated("a.yaml", ExportError, "is wrong"):
        raise told
    assert caught.value is told
    with pytest.raises(ExportError, match=r"^a\.yaml: is empty$"), translated("a.yaml", ExportError, "is wrong"):
        raise untold


@pytest.mark.parametrize("name", ["a" * 1001, "\ud800", "a\nb", "\x1b[2J", "\u202e"])
def test_names_that_cannot_be_shown_are_refused(name):
    with pytest.raises(ExportError, match=r"^file: holds "):
        require_name(name, "file", ExportError)
    assert require_name("Gewicht_\u00e4.\u6743\u91cd", "file", ExportError) == "Gewicht_\u00e4.\u6743\u91cd"

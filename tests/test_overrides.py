"""Settings in messages, which can be pasted into a shell."""

import shlex
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from hypercolumns.overrides import format_mapping, format_override, quote_value, quote_word

TEXTS = [
    *("plain", "a/b.c-d", "a b", "a  b", "a,b", "a=b", "[a]", "{id}_mask.png", "{id}.*", "it's", 'say "a"', "$HOME"),
    *("${a}", "back\\", "b\\'c", "`ls`", "wow!", "2012", "1e5", "null", "True", "nan", "~a", "Übung", "a#b", ";", "-x"),
]


def parsed(word):
    """Return the value that Hydra reads, as OmegaConf gives it to the program."""
    value = OverridesParser.create().parse_override(word).value()
    return OmegaConf.create({"value": value}).value


@pytest.mark.parametrize("text", TEXTS)
def test_override_survives_shell_and_hydra(text):
    word = format_override("data.root", text)
    assert [parsed(part) for part in shlex.split(word)] == [text]
    by_shell = subprocess.run(["sh", "-c", f"printf %s {word}"], capture_output=True, text=True, check=True).stdout
    assert parsed(by_shell) == text


def test_numbers_and_null_stay_unquoted():
    assert [format_override("a", value) for value in (None, 3, 0.5, "b")] == ["a=null", "a=3", "a=0.5", "a=b"]


def test_double_quotes_are_preferred():
    assert format_override("data.root", "my data") == "\"data.root='my data'\""
    assert quote_word("a=b") == "a=b"


@pytest.mark.parametrize("key", [7, "van", "a b", "Sign (Back)", "a,b", "a=b", "a:b", "a\\b", "Lane - General", "a/b"])
@pytest.mark.parametrize("value", ["car", "a b", "it's"])
def test_mapping_survives_shell_and_hydra(key, value):
    (word,) = shlex.split(quote_word(f"data.map={format_mapping({key: value})}"))
    assert parsed(word) == {key: value}


@pytest.mark.parametrize("key", ["it's", "Übung", "a&b", "null", "true", "7", "1e5", " a", ""])
def test_key_that_hydra_misreads_is_not_written(key):
    assert format_mapping({key: "car"}) is None


def test_list_of_quoted_values_is_read_by_hydra():
    names = ["0001", "a b", "c"]
    assert parsed("x=[" + ",".join(map(quote_value, names)) + "]") == names

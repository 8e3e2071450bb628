"""Write settings as they are typed on the command line, for messages that can be pasted into a shell."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence

PLAIN = re.compile(r"[A-Za-z_./][\w./-]*", re.ASCII)  # Hydra reads such a value as a text, except for these words:
KEYWORDS = ("null", "true", "false", "nan", "inf")
KEY = re.compile(r"[\w/\\()\[\]{}:=,\ .%*@?|+-]+", re.ASCII)  # Hydra knows no quotes around the keys of a mapping
KEY_ESCAPES = re.compile(r"[\\()\[\]{}:=,]")  # characters that a backslash makes part of a key
NUMBER = re.compile(r"[+-]?[\d._]+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)

# Hydra's flags that say where the configs are, and which of them is the primary one.
CONFIG_FLAGS = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")


def format_override(name: str, value: object) -> str:
    """Write a setting as a word of the command line, quoted for Hydra and for the shell.

    >>> print(format_override("data.root", "my data"))
    "data.root='my data'"

    Args:
        name: the name of the setting.
        value: a value as in `format_value`.
    """
    return quote_word(f"{name}={format_value(value)}")


def format_value(value: object) -> str:
    """Write a value of Python as Hydra reads it.

    >>> print(format_value({"scale": [0.5, 2], "note": "a b", "crop": None}))
    {scale: [0.5,2], note: 'a b', crop: null}

    Args:
        value: a text, a path, a number, a bool or None, or a list or mapping of them.

    Raises:
        TypeError: if the value is something else.
        ValueError: if Hydra can't read a key of a mapping, such as one with an apostrophe.
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a number of NumPy
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        entries = []
        for key, entry in value.items():
            if not isinstance(key, int | str) or (isinstance(key, str) and not _is_key(key)):
                raise ValueError(f"the key {key!r} can't be read")
            name = KEY_ESCAPES.sub(r"\\\g<0>", str(key))
            entries.append(f"{name}: {format_value(entry)}")
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(format_value, value))}]"
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str | int | float):
        raise TypeError(f"type {type(value).__name__} is no text, number, bool, None, path, list or dictionary")
    return quote_value(value)


def quote_value(value: str | int | float) -> str:
    """Quote a value as Hydra needs it, unless it is a number or a plain word."""
    text = str(value)
    if isinstance(value, int | float) or (PLAIN.fullmatch(text) and text.lower() not in KEYWORDS):
        return text
    return quote_text(text)


def quote_text(text: str) -> str:
    """Put a text in quotes for Hydra, which then reads each of its characters as it is."""
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), text)
    return f"'{escaped}'".replace("${", "\\${")


def format_mapping(entries: Mapping[str, str] | Mapping[int, str]) -> str | None:
    """Write a mapping as Hydra reads it; None if Hydra can't read one of its keys, such as one with an apostrophe."""
    try:
        return format_value(entries)
    except ValueError:
        return None


def _is_key(text: str) -> bool:
    """Whether Hydra can read a text as a key of a mapping, and reads it as a text."""
    return (
        bool(KEY.fullmatch(text))
        and text == text.strip()
        and text.lower() not in KEYWORDS
        and not NUMBER.fullmatch(text)
    )


def quote_word(text: str) -> str:
    """Quote a text as one word of a shell, unless it is a plain word. Double quotes are used if they suffice."""
    if shlex.quote(text) == text:
        return text
    return shlex.quote(text) if any(sign in text for sign in '$`"\\!') else f'"{text}"'


def config_flags(arguments: Sequence[str]) -> list[str]:
    """Return those arguments that say where the configs are: Hydra's flags with their values, `hydra.searchpath`."""
    flags, takes_next = [], False
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        if takes_next or flag in CONFIG_FLAGS or flag.lstrip("+") == "hydra.searchpath":
            flags.append(argument)
        takes_next = flag in CONFIG_FLAGS and not equals
    return flags

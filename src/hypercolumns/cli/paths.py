"""Prepare command-line arguments for Hydra: quote paths, and order the arguments."""

import os
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from hypercolumns.errors import HypercolumnsError
from hypercolumns.overrides import config_flags, quote_text, quote_word
from hypercolumns.settings.predict_schema import PREDICT_SETTINGS
from hypercolumns.settings.schema import PATHS

PATH_SETTINGS = PATHS | {setting.name for setting in PREDICT_SETTINGS if setting.path}
# Those that take one text, and neither a list nor a mapping: regular expressions, and file names with {id}.
TEXT_SETTINGS = ("group_pattern", "data.group_pattern", "data.image_name", "data.mask_name")
CLOSING = {"[": "]", "(": ")", "{": "}"}
MULTIRUN_FLAGS = ("-m", "--multirun")


def move_flags(arguments: Sequence[str]) -> list[str]:
    """Move the flags of a sweep and of the configs to the front, because Hydra expects the settings side by side."""
    of_configs = config_flags(arguments)
    others = [argument for argument in arguments if argument not in MULTIRUN_FLAGS and argument not in of_configs]
    search_path = [argument for argument in of_configs if "hydra.searchpath=" in argument]
    flags = [argument for argument in of_configs if argument not in search_path]
    return [*MULTIRUN_FLAGS[: is_sweep(arguments)], *flags, *search_path, *others]


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether the arguments contain the flag that starts a sweep (`-m` or `--multirun`)."""
    return any(flag in arguments for flag in MULTIRUN_FLAGS)


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """Quote each value that is a path or a regular expression. Hydra then does not parse its special characters.

    A value that is null, empty, ??? or already quoted stays as it is. So does a list in square brackets or a mapping in
    braces, unless the setting takes neither (`TEXT_SETTINGS`). In a sweep, a value with commas stands for several
    values, unless its commas are all inside brackets. If a file or folder has exactly that name, the value is quoted
    after all.

    `logger=null` becomes `logger=none`, and `callbacks=null` becomes `callbacks=none`, because Hydra can't set a group
    to null.

    Raises:
        HypercolumnsError: in a sweep, if a value with commas could be one value or several; the message says how to
            quote both.
    """
    sweep = is_sweep(arguments)
    none = {f"{group}={word}": f"{group}=none" for group in ("callbacks", "logger") for word in ("null", "false")}
    for argument in arguments:
        if re.fullmatch(r"(callbacks|logger)=\[.*\bnull\b.*\]", argument):
            raise HypercolumnsError(f"{argument}: leave out null; {argument.partition('=')[0]}=null means none at all")
    return [none.get(argument) or _quote_path(argument, sweep) for argument in arguments]


def _quote_path(argument: str, sweep: bool) -> str:
    setting, equals, value = argument.partition("=")
    name = setting.lstrip("+")
    if not equals or name not in PATH_SETTINGS or value in ("null", "", "???") or _is_quoted(value):
        return argument
    if name == "runs":  # Hydra itself makes a folder in `runs`, without expanding ~
        value = os.path.expanduser(value)
    single = f"{setting}={quote_text(value)}"
    if _exists(value):
        return single
    takes_lists = name not in TEXT_SETTINGS
    if takes_lists and value[:1] + value[-1:] in ("[]", "{}"):
        return argument
    if not sweep or "," not in value:
        return single
    parts = split_at_commas(value)
    several = f"{setting}={','.join(part if part == 'null' else quote_text(part) for part in parts)}"
    if _reads_several(argument, takes_lists):
        # Hydra would drop some backslashes of a regular expression without quotes.
        return several if "\\" in value and not set(value) & set("'\"") and not takes_lists else argument
    if len(parts) == 1:
        return single
    if takes_lists and all(map(_exists, parts)):
        return several
    raise HypercolumnsError(
        f"{argument}: in a sweep (-m), a comma separates values, and here the comma may also be a part of one value; "
        f"for one value, give {quote_word(single)}; for several values, give {quote_word(several)}"
    )


def split_at_commas(text: str) -> list[str]:
    """Split a text at the commas outside of all brackets. A character after a backslash is no comma and no bracket."""
    parts, start, closing = [], 0, ""
    for match in re.finditer(r"\\.|[][(){},]", text):
        sign = match[0]
        if sign == "," and not closing:
            parts.append(text[start : match.start()])
            start = match.end()
        elif closing[-1:] == sign:
            closing = closing[:-1]
        elif sign in "[({" and closing[-1:] != "]":  # inside [...] of a regular expression, no bracket opens
            closing += CLOSING[sign]
    return [*parts, text[start:]]


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _exists(path: str) -> bool:
    return os.path.exists(os.path.expanduser(path))


def _reads_several(argument: str, lists: bool) -> bool:
    """Whether Hydra reads several values in an argument of a sweep. If `lists` is false, none may be a list."""
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    if not override.is_sweep_override():
        return False
    value: Any = override.value()
    return lists or not any(isinstance(one, list | dict) for one in getattr(value, "list", ()))

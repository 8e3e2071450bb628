"""Prepare command-line arguments for Hydra: quote paths, and order the arguments."""

import os
from collections.abc import Sequence

from hypercolumns.overrides import config_places, quote_text
from hypercolumns.settings.predict_schema import PREDICT_SETTINGS
from hypercolumns.settings.schema import PATHS

PATH_SETTINGS = PATHS | {setting.name for setting in PREDICT_SETTINGS if setting.path}
MULTIRUN_FLAGS = ("-m", "--multirun")


def move_flags(arguments: Sequence[str]) -> list[str]:
    """Move the flags of a sweep and of the configs to the front, because Hydra expects the settings side by side."""
    places = config_places(arguments)
    others = [argument for argument in arguments if argument not in MULTIRUN_FLAGS and argument not in places]
    flags = [place for place in places if "hydra.searchpath=" not in place]
    return [*MULTIRUN_FLAGS[: is_sweep(arguments)], *flags, *(place for place in places if place not in flags), *others]


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether the arguments contain the flag that starts a sweep (`-m` or `--multirun`)."""
    return any(flag in arguments for flag in MULTIRUN_FLAGS)


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """Quote each value that is a path or a regular expression. Hydra then does not parse its special characters.

    A value that is null, empty, ??? or already quoted stays as it is. So does a list in square brackets, a mapping in
    braces and, in a sweep, a value with commas, which stands for several values. If a file or folder has exactly that
    name, the value is quoted after all.

    `logger=null` becomes `logger=none`, because Hydra can't set a part of the config to null.
    """
    sweep = is_sweep(arguments)
    quoted = []
    for argument in arguments:
        setting, equals, value = argument.partition("=")
        if argument == "logger=null":
            argument = "logger=none"
        if equals and setting.lstrip("+") in PATH_SETTINGS and not _is_for_hydra(value, sweep):
            if setting == "runs":  # Hydra itself makes a folder in `runs`, without expanding ~
                value = os.path.expanduser(value)
            argument = f"{setting}={quote_text(value)}"
        quoted.append(argument)
    return quoted


def _is_for_hydra(value: str, sweep: bool) -> bool:
    if value in ("null", "", "???") or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\""):
        return True
    grammar = (value[:1] + value[-1:] in ("[]", "{}")) or (sweep and "," in value)
    return grammar and not os.path.exists(os.path.expanduser(value))

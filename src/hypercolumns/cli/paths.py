"""Arguments as people type them: paths with any character, and sweeps with a name."""

import os
import re
from collections.abc import Sequence

from hypercolumns.io.files import short_hash
from hypercolumns.settings.predict_schema import PREDICT_SETTINGS
from hypercolumns.settings.schema import SETTINGS

PATH_SETTINGS = {one.name for one in SETTINGS if one.path} | {one.name for one in PREDICT_SETTINGS if one.path}
MULTIRUN_FLAGS = ("-m", "--multirun")
NOT_NAMING = ("hydra", "search.", "overwrite=", "num_workers=")  # settings with which a sweep is still the same one


def stable_sweep_name(arguments: Sequence[str]) -> list[str]:
    """The arguments, and if they start a sweep a name for it: the same for the same settings, in whatever order.

    -m comes first then, wherever it was: Hydra wants the settings side by side.
    """
    if not is_sweep(arguments):
        return list(arguments)
    others = [one for one in arguments if one not in MULTIRUN_FLAGS]
    if any(one.startswith("hydra.job.name=") for one in others):
        return [MULTIRUN_FLAGS[0], *others]
    naming = sorted(
        one for one in others if not one.startswith(("-", *NOT_NAMING)) or one.startswith("search.storage=")
    )
    first = next((place for place, one in enumerate(others) if "=" in one and not one.startswith("-")), len(others))
    name = f"hydra.job.name='{short_hash(naming)}'"  # in quotes, for some would be numbers
    return [MULTIRUN_FLAGS[0], *others[:first], name, *others[first:]]


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether the arguments start a sweep."""
    return any(flag in arguments for flag in MULTIRUN_FLAGS)


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, with values that are paths (or a pattern) quoted for Hydra, so that any file name can be typed.

    Left alone are null, what is quoted already, and lists and sweeps (a,b after -m) unless a file has just that name.
    """
    sweep = is_sweep(arguments)
    quoted = []
    for argument in arguments:
        setting, equals, value = argument.partition("=")
        if equals and setting.lstrip("+") in PATH_SETTINGS and not _is_for_hydra(value, sweep):
            if setting == "runs":  # where Hydra, too, makes a folder
                value = os.path.expanduser(value)
            escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
            argument = f"{setting}='{escaped}'".replace("${", "\\${")
        quoted.append(argument)
    return quoted


def _is_for_hydra(value: str, sweep: bool) -> bool:
    if value in ("null", "", "???") or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\""):
        return True
    grammar = (value.startswith("[") and value.endswith("]")) or (sweep and "," in value)
    return grammar and not os.path.exists(os.path.expanduser(value))

"""Prepare command-line arguments for Hydra: quote paths and name sweeps."""

import os
from collections.abc import Sequence

from hypercolumns.io.files import short_hash
from hypercolumns.overrides import quote_text
from hypercolumns.settings.predict_schema import PREDICT_SETTINGS
from hypercolumns.settings.schema import PATHS

PATH_SETTINGS = PATHS | {setting.name for setting in PREDICT_SETTINGS if setting.path}
MULTIRUN_FLAGS = ("-m", "--multirun")
# The name of a sweep does not depend on arguments that begin like this.
NOT_NAMING = ("hydra", "search.", "overwrite=", "num_workers=")


def stable_sweep_name(arguments: Sequence[str]) -> list[str]:
    """Name a sweep: add the argument `hydra.job.name`, whose value is a hash of the settings.

    The order of the settings does not change the hash. These settings are not hashed: Hydra's own, `overwrite`,
    `num_workers`, and all of `search` except `search.storage`. The flag `-m` moves to the front, because Hydra expects
    the settings next to each other. If the arguments already give `hydra.job.name`, no name is added. The arguments of
    a command that is not a sweep stay as they are.
    """
    if not is_sweep(arguments):
        return list(arguments)
    others = [argument for argument in arguments if argument not in MULTIRUN_FLAGS]
    if any(argument.startswith("hydra.job.name=") for argument in others):
        return [MULTIRUN_FLAGS[0], *others]
    naming = sorted(
        argument
        for argument in others
        if not argument.startswith(("-", *NOT_NAMING)) or argument.startswith("search.storage=")
    )
    settings = (i for i, argument in enumerate(others) if "=" in argument and not argument.startswith("-"))
    first = next(settings, len(others))
    name = f"hydra.job.name='{short_hash(naming)}'"  # Hydra would read some hashes as numbers without the quotes
    return [MULTIRUN_FLAGS[0], *others[:first], name, *others[first:]]


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

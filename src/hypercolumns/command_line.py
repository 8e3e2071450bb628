"""What both entry points share: paths as people type them, and faults as one line."""

import difflib
import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from hypercolumns import signals
from hypercolumns.errors import HypercolumnsError
from hypercolumns.files import key

Task = TypeVar("Task", bound=Callable[..., Any])

TYPED = (  # settings whose values are taken as they are typed: paths, and regular expressions
    "groups data.split_by model images masks out predictions evaluation baseline samples init_from runs cnn.weights "
    "data.root data.classes data.palette data.images data.masks data.train data.val"
).split()
NOT_NAMING = ("hydra", "search.", "overwrite=", "num_workers=")  # settings with which a sweep is still the same one


def run(main: Callable[[], object]) -> None:
    """Run a Hydra application on the command line's arguments.

    A fault that the user can mend ends in one line and exit code 2; a bug keeps its traceback.
    """
    sys.argv[1:] = name_sweep(quote_paths(sys.argv[1:]))
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "256")  # of torch's 1024: each new size of image fills them, with up to 1 GB
    signals.on_stop(signals.interrupt)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors, where it would print them and exit
    try:
        main()
    except Exception as error:
        exit_if_fault(error)
        raise
    except KeyboardInterrupt as interruption:
        again = " without overwrite=true" if "overwrite=true" in sys.argv else ""
        print(f"interrupted; the same command{again} goes on from here", file=sys.stderr)
        number = interruption.args[0] if interruption.args else signal.SIGINT
        sys.exit(128 + number)  # as a shell says it


def exits_on_fault(task: Task) -> Task:
    """Decorate what Hydra runs, so that a fault ends it before Hydra adds words of its own.

    The jobs of a sweep see to their faults themselves.
    """

    @functools.wraps(task)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return task(*args, **kwargs)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.RUN:
                exit_if_fault(error)
            raise

    return cast(Task, wrapped)


def name_sweep(arguments: Sequence[str]) -> list[str]:
    """The arguments, and if they start a sweep a name for it: the same for the same settings, in whatever order."""
    if not _is_sweep(arguments):
        return list(arguments)
    if any(one.startswith("hydra.job.name=") for one in arguments):
        return list(arguments)
    naming = sorted(
        one for one in arguments if not one.startswith(("-", *NOT_NAMING)) or one.startswith("search.storage=")
    )
    return [*arguments, f"hydra.job.name='{key(naming)}'"]  # in quotes, for some would be numbers


def _is_sweep(arguments: Sequence[str]) -> bool:
    return "-m" in arguments or "--multirun" in arguments


def exit_if_fault(error: Exception) -> None:
    """If the user can mend it, print what to do in one line and exit with code 2."""
    line = as_line(error)
    if line is not None:
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, with values that are paths (or a pattern) quoted for Hydra, so that any file name can be typed.

    Left alone are null, what is quoted already, and lists and sweeps (a,b after -m) unless a file has just that name.
    """
    sweep = _is_sweep(arguments)
    quoted = []
    for argument in arguments:
        setting, equals, value = argument.partition("=")
        if equals and setting.lstrip("+") in TYPED and not _is_for_hydra(value, sweep):
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
    return grammar and not Path(value).expanduser().exists()


def as_line(error: BaseException) -> str | None:
    """The one line that tells the user what to mend, or None if the error is a bug of the program."""
    innermost = error
    while not isinstance(innermost, HypercolumnsError) and innermost.__cause__ is not None:
        innermost = innermost.__cause__
    if isinstance(innermost, HypercolumnsError):
        return _last_line(str(innermost))
    if isinstance(innermost, MissingMandatoryValue):
        return f"{innermost.full_key} is missing: give {innermost.full_key}=..."
    if isinstance(innermost, InterpolationToMissingValueError):
        setting = re.split(r": |\n", str(innermost))[2]
        return f"{setting} is missing: give {setting}=..."
    if isinstance(innermost, ConfigAttributeError | ConfigKeyError) and isinstance(innermost.parent_node, DictConfig):
        return _unknown_setting(str(innermost.full_key), [str(name) for name in innermost.parent_node])
    if isinstance(error, InstantiationException) and isinstance(innermost, TypeError | ValueError):
        setting = getattr(error, "full_key", "") or re.search(r"full_key: (\S+)", str(error))
        where = setting if isinstance(setting, str) else setting[1] if setting else "a setting"
        return f"{where}: its settings are not right ({' '.join(str(innermost).split())})"
    if isinstance(innermost, OSError) and innermost.filename:
        return f"{innermost.filename}: {innermost.strerror}"
    of_hydra = isinstance(innermost, HydraException | OmegaConfBaseException)
    if of_hydra or str(innermost).startswith("Config group override must be"):  # a plain ValueError of Hydra's
        return _of_hydra(str(error))
    if type(innermost).__name__.startswith("Dist") or "gloo/transport" in str(innermost):  # errors of torch.distributed
        return "another process of this command has ended; what it printed says why"
    if type(innermost).__name__ == "MisconfigurationException":  # Lightning's, which takes seconds to import
        return " ".join(str(innermost).split())
    return None


def _last_line(message: str) -> str:
    """The message; if it came out of a worker process it stands at the end of a traceback."""
    lines = [line for line in message.splitlines() if line.strip()] or [""]
    return lines[-1].removeprefix(f"{HypercolumnsError.__module__}.{HypercolumnsError.__name__}: ")


def _unknown_setting(setting: str, known: Sequence[str]) -> str:
    group, _, name = setting.rpartition(".")
    prefix = f"{group}." if group else ""
    near = difflib.get_close_matches(name, known, n=1)
    guess = f" did you mean {prefix}{near[0]}?" if near else ""
    those = f"the settings of {group or 'this command'} are {', '.join(sorted(known))}"
    return f"{setting} is not a setting;{guess} {those}"


def _of_hydra(message: str) -> str:
    """Hydra's words on one line, without its inner workings."""
    options = re.search(r"Available options in '([^']+)':\s*(.*?)\s*Config search path:", message, re.DOTALL)
    if options:
        wrong = re.search(r"Could not find '([^']+)'", message)
        named = wrong[1].rpartition("/")[2] if wrong else "?"
        return f"{options[1]}={named} is not known; choose one of {', '.join(options[2].split())}"
    return " ".join(re.sub(r"\n\s*(full_key|object_type|reference_type)[=:][^\n]*", "", message).split())

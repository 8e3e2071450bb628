"""What both entry points share: paths as people type them, and faults as one line."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from hypercolumns.errors import HypercolumnsError

PATHS = (
    "model images masks out samples init_from predictions runs cnn.weights "
    "data.root data.classes data.images data.masks data.train data.val"
).split()


def run(main: Callable[[], object]) -> None:
    """Run a Hydra application on the command line's arguments.

    A fault that the user can mend ends in one line and exit code 2; a bug keeps its traceback.
    """
    sys.argv[1:] = quote_paths(sys.argv[1:])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors, where it would print them and exit
    try:
        main()
    except Exception as error:
        line = as_line(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, with values of settings that are paths quoted for Hydra, so that any file name can be typed.

    Left alone are null, what is quoted already, and lists and sweeps (a,b after -m) unless a file has just that name.
    """
    sweep = "-m" in arguments or "--multirun" in arguments
    quoted = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key.lstrip("+") in PATHS and not _is_for_hydra(value, sweep):
            escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
            argument = f"{key}='{escaped}'".replace("${", "\\${")
        quoted.append(argument)
    return quoted


def _is_for_hydra(value: str, sweep: bool) -> bool:
    if value in ("null", "", "???") or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\""):
        return True
    grammar = (value.startswith("[") and value.endswith("]")) or (sweep and "," in value)
    return grammar and not Path(value).expanduser().exists()


def as_line(error: BaseException) -> str | None:
    """The one line that tells the user what to mend, or None if the error is a bug of the program."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HypercolumnsError):
            return _last_line(str(cause))
        innermost, cause = cause, cause.__cause__
    known = isinstance(innermost, HydraException | OmegaConfBaseException)
    known = known or type(innermost).__name__ == "MisconfigurationException"  # Lightning's; to import it takes seconds
    return _of_hydra(str(error)) if known else None


def _last_line(message: str) -> str:
    """The message; if it came out of a worker process it stands at the end of a traceback."""
    lines = [line for line in message.splitlines() if line.strip()] or [""]
    return lines[-1].removeprefix(f"{HypercolumnsError.__module__}.{HypercolumnsError.__name__}: ")


def _of_hydra(message: str) -> str:
    """Hydra's words on one line, without its inner workings."""
    message = message.split("Config search path:")[0]
    message = re.sub(r"\n\s*(full_key|object_type|reference_type)[=:][^\n]*", "", message)
    message = re.sub(r"To append to your config use \+\S+", "", message)
    options = re.search(r"Available options in '([^']+)':\s*(.*)", message, re.DOTALL)
    if options:
        wrong = re.search(r"Could not find '([^']+)'", message)
        named = wrong[1].rpartition("/")[2] if wrong else "?"
        return f"{options[1]}={named} is not known; choose one of {', '.join(options[2].split())}"
    return " ".join(message.split())

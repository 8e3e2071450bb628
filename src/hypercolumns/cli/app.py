"""What both entry points share: paths as people type them, and faults as one line."""

import difflib
import errno
import functools
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from hydra._internal.core_plugins import file_config_source
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

from hypercolumns.errors import (
    BadDataError,
    HypercolumnsError,
    InvalidFileError,
    StoreError,
    class_names,
    escape_control_chars,
    is_out_of_memory,
    summarize_error,
)
from hypercolumns.io.files import short_hash
from hypercolumns.runtime import signals

Task = TypeVar("Task", bound=Callable[..., Any])

PATH_SETTINGS = (  # settings whose values are taken as they are typed: paths, and regular expressions
    "groups data.group_pattern model images masks out predictions evaluation baseline samples init_from runs cnn.weights "
    "data.root data.classes data.palette data.images data.masks data.train data.val"
).split()
REMEDIES = {  # what can be typed, by the kind of an error of the library
    InvalidFileError: "stage=validate lists all files that are not right, data.on_bad=skip leaves their images out",
    StoreError: "run stage=extract as before, which makes what is missing, with overwrite=true all of it",
}
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
GO_ON = "and the same command goes on from here"
LESS_MEMORY = (
    "lower batch_size, or window (pixels that the CNN sees at once); stage train: augment.crop or pixels too; "
    "trainer.precision=bf16-mixed (predict.py: precision=bf16) takes half"
)
WORKER_ENDED = r"(?is)DataLoader worker \(pid.*(killed|exited|shared memory|bus error)"
MULTIRUN_FLAGS = ("-m", "--multirun")
NOT_RESUMABLE = ("compare", "evaluate", "rank_taps", "validate", "verify")  # stages that keep nothing before their end
NOT_NAMING = ("hydra", "search.", "overwrite=", "num_workers=")  # settings with which a sweep is still the same one


def run(main: Callable[[], object]) -> None:
    """Run a Hydra application on the command line's arguments.

    A fault that the user can mend ends in one line and exit code 2; a bug keeps its traceback.
    """
    sys.argv[1:] = stable_sweep_name(quote_paths(sys.argv[1:]))
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "256")  # of torch's 1024: each new size of image fills them, with up to 1 GB
    signals.handle_stop_signals(signals.exit_on_signal)
    threading.excepthook = _say_unless_handed_on
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors, where it would print them and exit
    try:
        main()
    except Exception as error:
        exit_on_user_error(error)
        raise
    except KeyboardInterrupt as interruption:
        again = " without overwrite" if "overwrite=true" in map(str.lower, sys.argv) else ""
        anew = not _is_sweep(sys.argv) and any(f"stage={stage}" in sys.argv for stage in NOT_RESUMABLE)
        print(f"interrupted; the same command{again} {'starts anew' if anew else 'goes on from here'}", file=sys.stderr)
        number = interruption.args[0] if interruption.args else signal.SIGINT
        sys.exit(128 + number)  # as a shell says it


def exits_on_user_error(task: Task) -> Task:
    """Decorate what Hydra runs, so that a fault ends it before Hydra adds words of its own.

    The jobs of a sweep see to their faults themselves.
    """

    @functools.wraps(task)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return task(*args, **kwargs)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.RUN:
                exit_on_user_error(error)
            raise

    return cast(Task, wrapped)


def stable_sweep_name(arguments: Sequence[str]) -> list[str]:
    """The arguments, and if they start a sweep a name for it: the same for the same settings, in whatever order.

    -m comes first then, wherever it was: Hydra wants the settings side by side.
    """
    if not _is_sweep(arguments):
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


def _is_sweep(arguments: Sequence[str]) -> bool:
    return any(flag in arguments for flag in MULTIRUN_FLAGS)


def exit_on_user_error(error: Exception) -> None:
    """If the user can mend it, print what to do in one line and exit with code 2, or 1 if it was looked for."""
    line = error_line(error)
    if line is not None:
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1 if isinstance(error, BadDataError) else 2)


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, with values that are paths (or a pattern) quoted for Hydra, so that any file name can be typed.

    Left alone are null, what is quoted already, and lists and sweeps (a,b after -m) unless a file has just that name.
    """
    sweep = _is_sweep(arguments)
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


def error_line(error: BaseException) -> str | None:
    """The one line that tells the user what to mend, or None if the error is a bug of the program.

    Ends of lines and other control characters, which file names may have, are shown as Python writes them.
    """
    words = _describe(error)
    return words and escape_control_chars(words)


def _describe(error: BaseException) -> str | None:
    innermost = error
    while not isinstance(innermost, HypercolumnsError) and innermost.__cause__ is not None:
        innermost = innermost.__cause__
    if isinstance(innermost, HypercolumnsError):
        remedy = next((words for kind, words in REMEDIES.items() if isinstance(innermost, kind)), None)
        return f"{innermost} ({remedy})" if remedy else str(innermost)
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
    if isinstance(innermost, OSError) and innermost.filename and innermost.errno not in DISK_FULL:
        refused = innermost.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT)
        remedy = "; allow it, or name another place (runs=, out=, data.root=)" if refused else ""
        return f"{innermost.filename}: {innermost.strerror}{remedy}"
    if str(innermost).startswith("Config group override must be"):  # a plain ValueError of Hydra's
        return "a group of settings, such as data or optimizer, takes the name of one of its files; --help lists them"
    if isinstance(innermost, HydraException | OmegaConfBaseException):
        return _describe_hydra(str(error))
    if "YAMLError" in class_names(innermost):  # for tags of Python's too, which nobody follows
        return f"a config file can't be read ({' '.join(str(innermost).split())}); expected settings with plain values"
    if isinstance(innermost, UnicodeDecodeError) and (file := _config_being_read(innermost)):
        return f"{file} can't be read ({innermost}); save it as UTF-8"
    if "MisconfigurationException" in class_names(innermost):
        return _describe_lightning(str(innermost))
    if "DistError" in class_names(innermost) or "gloo/transport" in str(innermost):  # of torch.distributed
        return "another process of this command has ended; what it printed says why"
    return _describe_machine(innermost)


def _unknown_setting(setting: str, known: Sequence[str]) -> str:
    group, _, name = setting.rpartition(".")
    prefix = f"{group}." if group else ""
    near = difflib.get_close_matches(name, known, n=1)
    guess = f" did you mean {prefix}{near[0]}?" if near else ""
    those = f"the settings of {group or 'this command'} are {', '.join(sorted(known))}"
    return f"{setting} is not a setting;{guess} {those}"


def _describe_machine(error: BaseException) -> str | None:
    """The line for a machine that has not enough of something; None for any other error."""
    message = str(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"the disk is full ({error.strerror}); what was written before is whole: make room, {GO_ON}"
    if is_out_of_memory(error):
        return f"out of memory ({summarize_error(error)}); {LESS_MEMORY}"
    if re.match(WORKER_ENDED, message):
        return (
            f"a process that reads data was ended from outside ({summarize_error(error)}), most often for want of memory; "
            f"lower num_workers or batch_size, {GO_ON}"
        )
    return None


def _describe_lightning(message: str) -> str:
    """Lightning's words on one line, and the name of the setting."""
    unknown = re.search(r"\(monitor='([^']*)'\).*returned metrics: \[(.*?)\]", message, re.DOTALL)
    if unknown:
        figures = sorted(name for name in re.findall(r"'([^']*)'", unknown[2]) if name.startswith("val/"))
        return f"monitor={unknown[1]} is no figure of this training; choose one of {', '.join(figures)}"
    return f"trainer: its settings are not right ({' '.join(message.split())})"


def _say_unless_handed_on(failed: threading.ExceptHookArgs) -> None:
    """Print a thread's traceback, unless the disk is full: TensorBoard's writer raises that in the main thread too."""
    if not (isinstance(failed.exc_value, OSError) and failed.exc_value.errno in DISK_FULL):
        threading.__excepthook__(failed)


def _config_being_read(error: BaseException) -> str | None:
    """The config file that Hydra was reading when it met an error, which does not say so; None if it was not."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == file_config_source.__file__ and "full_path" in frame.f_locals:
            return str(frame.f_locals["full_path"])
    return None


def _describe_hydra(message: str) -> str:
    """Hydra's words on one line, without its inner workings."""
    options = re.search(r"Available options in '([^']+)':\s*(.*?)\s*Config search path:", message, re.DOTALL)
    if options:
        wrong = re.search(r"Could not find '([^']+)'", message)
        named = wrong[1].rpartition("/")[2] if wrong else "?"
        known = options[2].split()
        near = difflib.get_close_matches(named, known, n=1)
        guess = f" did you mean {near[0]}?" if near else ""
        return f"{options[1]}={named} is not known;{guess} choose one of {', '.join(known)}"
    words = " ".join(re.sub(r"\n\s*(full_key|object_type|reference_type)[=:][^\n]*", "", message).split())
    setting = re.search(r"full_key: (\S+)", message)
    return words if not setting or setting[1] in words else f"{setting[1]}: {words}"

"""Any exception as one line that says what to mend."""

import difflib
import errno
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from hypercolumns.errors import (
    HypercolumnsError,
    InvalidFileError,
    StoreError,
    class_names,
    escape_control_chars,
    is_out_of_memory,
    summarize_error,
)
from hypercolumns.settings.schema import not_taken, setting_of, stages_named, stages_of

REMEDIES = {  # what can be typed, by the kind of an error of the library
    InvalidFileError: "stage=validate lists all files that are not right, data.on_bad=skip leaves their images out",
    StoreError: "run stage=extract as before, which makes what is missing, with overwrite=true all of it",
}
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
GO_ON = "and the same command goes on from here"
LESS_MEMORY = (
    "lower batch_size, or max_window_pixels (pixels that the CNN sees at once); stage train: augment.crop or pixels "
    "too; trainer.precision=bf16-mixed (predict.py: precision=bf16) takes half"
)
WORKER_ENDED = r"(?is)DataLoader worker \(pid.*(killed|exited|shared memory|bus error)"


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
    if (told := _of_other_stage(setting)) is not None:
        return told
    group, _, name = setting.rpartition(".")
    prefix = f"{group}." if group else ""
    near = difflib.get_close_matches(name, known, n=1)
    guess = f" did you mean {prefix}{near[0]}?" if near else ""
    those = f"the settings of {group or 'this command'} are {', '.join(sorted(known))}"
    return f"{setting} is not a setting;{guess} {those}"


def _of_other_stage(setting: str) -> str | None:
    """The line for a setting that train.py has, but not the stage of this command; None for any other setting."""
    if Path(sys.argv[0]).name != "train.py":
        return None
    stage = next((stage for stage in stages_named(sys.argv) if stage not in stages_of(setting)), None)
    typed = [name for name in map(setting_of, sys.argv[1:]) if name == setting or name.startswith(f"{setting}.")]
    return stage and not_taken(typed[0] if typed else setting, stage)


def _describe_machine(error: BaseException) -> str | None:
    """The line for a machine that has not enough of something; None for any other error."""
    message = str(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"the disk is full ({error.strerror}); what was written before is whole: make room, {GO_ON}"
    if is_out_of_memory(error):
        return f"out of memory ({summarize_error(error)}); {LESS_MEMORY}"
    if re.match(WORKER_ENDED, message):
        return (
            f"a process that reads data was ended from outside ({summarize_error(error)}), most often for want of "
            f"memory; lower num_workers or batch_size, {GO_ON}"
        )
    return None


def _describe_lightning(message: str) -> str:
    """Lightning's words on one line, and the name of the setting."""
    unknown = re.search(r"\(monitor='([^']*)'\).*returned metrics: \[(.*?)\]", message, re.DOTALL)
    if unknown:
        figures = sorted(name for name in re.findall(r"'([^']*)'", unknown[2]) if name.startswith("val/"))
        return f"monitor={unknown[1]} is no figure of this training; choose one of {', '.join(figures)}"
    return f"trainer: its settings are not right ({' '.join(message.split())})"


def _config_being_read(error: BaseException) -> str | None:
    """The config file that Hydra was reading when it met an error, which does not say so; None if it was not."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == file_config_source.__file__ and "full_path" in frame.f_locals:
            return str(frame.f_locals["full_path"])
    return None


def _describe_hydra(message: str) -> str:
    """Hydra's words on one line, without its inner workings."""
    unmatched = re.match(r"(?:In '(\w+)/[^']*': )?Could not override '([^'@]+)'", message)
    if unmatched and (told := _of_other_stage(unmatched[1] or unmatched[2])) is not None:
        return told
    options = re.search(r"Available options in '([^']+)':\s*(.*?)\s*Config search path:", message, re.DOTALL)
    if options:
        wrong = re.search(r"Could not find '([^']+)'", message)
        named = wrong[1].rpartition("/")[2] if wrong else "?"
        known = [option for option in options[2].split() if not option.startswith("_")]  # the others are their bases
        near = difflib.get_close_matches(named, known, n=1)
        guess = f" did you mean {near[0]}?" if near else ""
        return f"{options[1]}={named} is not known;{guess} choose one of {', '.join(known)}"
    words = " ".join(re.sub(r"\n\s*(full_key|object_type|reference_type)[=:][^\n]*", "", message).split())
    setting = re.search(r"full_key: (\S+)", message)
    return words if not setting or setting[1] in words else f"{setting[1]}: {words}"

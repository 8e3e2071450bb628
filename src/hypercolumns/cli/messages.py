"""Turn an exception into one line that says what to fix."""

import difflib
import errno
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra.errors import HydraException, InstantiationException, OverrideParseException
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
from hypercolumns.overrides import quote_text, quote_word
from hypercolumns.settings.schema import BY_NAME, CONFIG_GROUPS, not_taken, setting_of, stages_named, stages_of

# What the user can do about an error, by the class of the error. The code that raises these errors can't say this,
# because it knows neither settings nor stages.
REMEDIES = {
    InvalidFileError: "stage=validate lists all invalid files; data.on_bad=skip leaves their images out",
    StoreError: "run stage=extract with the same settings to complete the store, or with overwrite=true to rebuild it",
}
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
RESUME = "and the same command resumes from here"
PARAMS = "hydra.sweeper.params"  # the settings of the jobs of a sweep that a YAML file gives
EACH = "to run a job for each value, add -m"
LESS_MEMORY = (
    "lower batch_size, max_window_pixels (the number of pixels that the CNN processes at once) or, in stage train, the "
    "settings augment.crop or pixels; trainer.precision=bf16-mixed (in predict.py: precision=bf16) halves the memory"
)
WORKER_ENDED = r"(?is)DataLoader worker \(pid.*(killed|exited|shared memory|bus error)"


def error_line(error: BaseException, overrides: Sequence[str] | None = None) -> str | None:
    """Return the line that tells the user what to fix, or None if the error is a bug of the program.

    Line breaks and other control characters, which file names can contain, are escaped as in Python.

    Args:
        error: the error that stopped the program.
        overrides: the settings of a training, such as `stage=pretrain`; None: those on the command line, if there is
            one.
    """
    if overrides is None:
        overrides = sys.argv[1:] if Path(sys.argv[0]).name == "train.py" else ()
    line = _describe(error, overrides)
    return line and escape_control_chars(line)


def _describe(error: BaseException, overrides: Sequence[str]) -> str | None:
    if isinstance(error, OverrideParseException):
        return _describe_unreadable(error)
    innermost = error
    while not isinstance(innermost, HypercolumnsError) and innermost.__cause__ is not None:
        innermost = innermost.__cause__
    if isinstance(innermost, HypercolumnsError):
        remedy = next((text for kind, text in REMEDIES.items() if isinstance(innermost, kind)), None)
        return f"{innermost} ({remedy})" if remedy else str(innermost)
    if isinstance(innermost, MissingMandatoryValue):
        return f"{innermost.full_key} is missing: give {innermost.full_key}=..."
    if isinstance(innermost, InterpolationToMissingValueError):
        setting = re.split(r": |\n", str(innermost))[2]
        return f"{setting} is missing: give {setting}=..."
    if isinstance(innermost, ConfigAttributeError | ConfigKeyError) and isinstance(innermost.parent_node, DictConfig):
        return _unknown_setting(str(innermost.full_key), [str(name) for name in innermost.parent_node], overrides)
    if isinstance(error, InstantiationException) and (line := _describe_part(error, innermost)) is not None:
        return line
    if isinstance(innermost, OSError) and innermost.filename and innermost.errno not in DISK_FULL:
        refused = innermost.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT)
        remedy = "; make this path accessible, or set another path (runs, out, data.root)" if refused else ""
        return f"{innermost.filename}: {innermost.strerror}{remedy}"
    if str(innermost).startswith("Config group override must be"):  # a plain ValueError of Hydra's
        return _describe_group(overrides)
    if isinstance(innermost, HydraException | OmegaConfBaseException):
        return _describe_hydra(str(error), overrides)
    if "YAMLError" in class_names(innermost):  # also raised at a YAML tag that names a Python object
        return (
            f"a config file can't be read ({' '.join(str(innermost).split())}); correct it, and use only plain values"
        )
    if isinstance(innermost, UnicodeDecodeError) and (file := _config_being_read(innermost)):
        return f"{file} can't be read ({innermost}); save it as UTF-8"
    if "MisconfigurationException" in class_names(innermost):
        return _describe_lightning(str(innermost))
    if "DistError" in class_names(innermost) or "gloo/transport" in str(innermost):  # raised by torch.distributed
        return "another process of this command has ended; the output of that process says why"
    return _describe_machine(innermost)


def _describe_part(error: InstantiationException, cause: BaseException) -> str | None:
    """Return the error line for a part, such as the optimizer, that can't be built because of the error `cause`.

    Return None if the settings of the part are not at fault.
    """
    named = getattr(error, "full_key", "") or _full_key(str(error))
    target = re.search("Error locating target '([^']*)'", str(error))
    if target:
        return (
            f"{named}._target_={target[1]} can't be imported ({summarize_error(cause)}); give the path of a class that "
            f"is installed, such as package.module.Class"
        )
    if isinstance(cause, TypeError | ValueError):
        return f"invalid {f'{named} ' if named else ''}settings: {' '.join(str(cause).split())}"
    return None


def _full_key(message: str) -> str:
    """Return the name of the setting that a message of Hydra or OmegaConf is about; "" if it names none."""
    found = re.search(r"full_key: (\S+)", message)
    return found[1] if found else ""


def _describe_unreadable(error: OverrideParseException) -> str:
    """Return the error line for an argument that is not in Hydra's grammar: the argument, and how to quote it."""
    setting, equals, value = error.override.partition("=")
    if not equals or not re.fullmatch(r"[+~]*[\w./@-]+", setting):
        return f"{error.override} is not a setting and its value; give name=value, or quote what belongs to the value"
    inside = {"[": "'first value',second", "{": "1: 'first value', 2: second"}.get(value[:1])
    if inside:
        example = quote_word(f"{setting}={value[0]}{inside}{']' if value[0] == '[' else '}'}")
        how = f"quote each value that has other characters than letters and digits, such as {example}"
    else:
        how = f"quote the value, as in {quote_word(f'{setting}={quote_text(value)}')}"
    unknown = re.search(r"Unknown function '[^']*'\s+Available: *(\S+)", error.message)
    functions = f", or give one of the functions {unknown[1].replace(',', ', ')}" if unknown else ""
    return f"{error.override} can't be read: {how} (the outer quotes are for the shell){functions}"


def _describe_group(overrides: Sequence[str]) -> str:
    """Return the error line for a group of settings, such as optimizer, that is set to something else than a name."""
    no_name = re.compile(rf"({'|'.join(CONFIG_GROUPS)})=(null|true|false|[\d.]+)", re.IGNORECASE)
    wrong = [text for text in overrides if no_name.fullmatch(text)]
    named = f" ({', '.join(wrong)})" if wrong else ""
    return (
        f"a part of the config, such as data or optimizer, must be set to the name of a file{named}; docs/settings.md "
        f"and --help list the files"
    )


def _unknown_setting(setting: str, known: Sequence[str], overrides: Sequence[str]) -> str:
    if overrides and (line := _of_other_stage(setting, overrides)) is not None:
        return line
    if setting.startswith(f"{PARAMS}."):
        name = setting.removeprefix(f"{PARAMS}.")
        return f"{setting}: {PARAMS} is for YAML files; on the command line, give {name}=..."
    group, _, name = setting.rpartition(".")
    prefix = f"{group}." if group else ""
    nested = [full for full in BY_NAME if full.rpartition(".")[2] == name and full != name]
    near = nested[:1] or [f"{prefix}{close}" for close in difflib.get_close_matches(name, known, n=1)]
    guess = f" did you mean {near[0]}?" if near else ""
    valid = f"the settings of {group or 'this command'} are {', '.join(sorted(known))}"
    return f"{setting} is not a setting;{guess} {valid}"


def _of_other_stage(setting: str, overrides: Sequence[str]) -> str | None:
    """Return the error line for a setting of a training that the chosen stage does not take; otherwise None."""
    stage = next((stage for stage in stages_named(list(overrides)) if stage not in stages_of(setting)), None)
    typed = [name for name in map(setting_of, overrides) if name == setting or name.startswith(f"{setting}.")]
    return stage and not_taken(typed[0] if typed else setting, stage)


def _describe_machine(error: BaseException) -> str | None:
    """Return the error line for a full disk, too little memory or a killed DataLoader worker; otherwise None."""
    message = str(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"the disk is full ({error.strerror}); the files already written are complete: free some space, {RESUME}"
    if is_out_of_memory(error):
        return f"out of memory ({summarize_error(error)}); {LESS_MEMORY}"
    if re.match(WORKER_ENDED, message):
        return (
            f"a data-loading worker was killed ({summarize_error(error)}), usually because memory ran out; "
            f"lower num_workers or batch_size, {RESUME}"
        )
    return None


def _describe_lightning(message: str) -> str:
    """Put a message of Lightning on one line.

    If the message says that the metric in `monitor` does not exist, return a line that lists the valid metrics.
    """
    unknown = re.search(r"\(monitor='([^']*)'\).*returned metrics: \[(.*?)\]", message, re.DOTALL)
    if unknown:
        metrics = sorted(name for name in re.findall(r"'([^']*)'", unknown[2]) if name.startswith("val/"))
        return f"monitor={unknown[1]} is not a metric of this training; choose one of {', '.join(metrics)}"
    return f"invalid trainer settings: {' '.join(message.split())}"


def _config_being_read(error: BaseException) -> str | None:
    """Return the path of the config file that Hydra was reading when it raised `error`; None if it was reading none.

    The message of the error does not name the file.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == file_config_source.__file__ and "full_path" in frame.f_locals:
            return str(frame.f_locals["full_path"])
    return None


def _describe_hydra(message: str, overrides: Sequence[str]) -> str:
    """Put a message of Hydra or OmegaConf on one line, without internal details.

    If the message is about a setting of another stage or about an unknown option, an error line in this project's own
    words is returned instead.
    """
    unmatched = re.match(r"(?:In '(\w+)/[^']*': )?Could not override '([^'@]+)'", message)
    if unmatched and overrides and (line := _of_other_stage(unmatched[1] or unmatched[2], overrides)) is not None:
        return line
    several = re.match(r"Ambiguous value for argument '(.*)'\s+1\. To use it as a list", message, re.DOTALL)
    if several:
        setting, _, value = several[1].partition("=")
        as_list, as_text = (quote_word(f"{setting}={text}") for text in (f"[{value}]", quote_text(value)))
        return f"{several[1]} has several values: for a list, give {as_list}; for one text, give {as_text}; {EACH}"
    options = re.search(r"Available options in '([^']+)':\s*(.*?)\s*Config search path:", message, re.DOTALL)
    if options:
        wrong = re.search(r"Could not find '([^']+)'", message)
        named = wrong[1].rpartition("/")[2] if wrong else "?"
        if options[1] == "cnn" and wrong and (model := wrong[1].partition("cnn/timm/")[2]):
            return f"cnn=timm/{model} is not a file in conf/cnn; give cnn=timm cnn.model={model}"
        # The files whose names begin with _ are not options: options include them.
        known = [option for option in options[2].split() if not option.startswith("_")]
        near = difflib.get_close_matches(named, known, n=1)
        guess = f" did you mean {near[0]}?" if near else ""
        return f"{options[1]}={named} is not known;{guess} choose one of {', '.join(known)}"
    text = " ".join(re.sub(r"\n\s*(full_key|object_type|reference_type)[=:][^\n]*", "", message).split())
    setting = _full_key(message)
    return text if setting in text else f"{setting}: {text}"

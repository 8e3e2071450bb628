"""The one error class for faults that the user can mend."""

import math
import pickle
import re

OUT_OF_MEMORY = (
    r"DefaultCPUAllocator: (can't|not enough)|(CUDA|CUDA error:|MPS backend) out of memory|CU\w+_STATUS_ALLOC_FAILED"
)
LONGEST = 200  # characters of a library's reason; some append all they know


class HypercolumnsError(Exception):
    """A fault in the input, the settings or the files, not in the program.

    The message is one line: what is wrong, where (file or setting, and the value), and what to do.
    It is raised where the fault is seen and printed, without a traceback, by the entry points alone.
    """

    def __init__(self, message: str) -> None:
        """Say it; of a message that comes out of a worker process, at the end of a traceback, only that end is kept."""
        if message.startswith(f"Caught {type(self).__name__} in "):
            lines = [line for line in message.splitlines() if line.strip()]
            message = lines[-1].removeprefix(f"{__name__}.{type(self).__name__}: ")
        super().__init__(printable(message))


class MissingInputError(HypercolumnsError):
    """There is nothing yet that a stage could start from; `stage` is the one that makes it."""

    def __init__(self, message: str, stage: str) -> None:
        super().__init__(message)
        self.stage = stage


class BadDataError(HypercolumnsError):
    """A check that was asked for has found what it looked for; the command ends with exit code 1."""


class UnreadableError(HypercolumnsError):
    """The system does not let a file be read: what it holds is not known, and another time it may well be read."""


def reason(error: BaseException) -> str:
    """What a library says went wrong, on one line and not too long, to stand in brackets in a message of ours."""
    if isinstance(error, pickle.UnpicklingError):  # torch's advice is to read it all the same
        return "it is no file of torch.save, or holds objects, which are not read, for they could execute anything"
    if isinstance(error, HypercolumnsError):
        return str(error)
    if isinstance(error, KeyError):  # whose text is the key alone
        return f"no {error}"
    text = " ".join(re.sub(r"\x1b\[[\d;]*m", "", str(error)).split()) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def kinds(error: BaseException) -> set[str]:
    """The names of its classes, where to import the library that they are of would take seconds."""
    return {kind.__name__ for kind in type(error).__mro__}


def is_of_memory(error: BaseException) -> bool:
    """Whether it was memory that was wanting, the machine's or a GPU's: no fault of what was being read."""
    return bool({"MemoryError", "OutOfMemoryError"} & kinds(error) or re.search(OUT_OF_MEMORY, str(error)))


def check_whole(setting: str, value: object, least: int) -> None:
    """Raise HypercolumnsError unless the value of a setting is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise HypercolumnsError(f"{setting}={value} must be a whole number of at least {least}")


def check_number(setting: str, value: object, least: float = 0.0, below: float | None = None) -> None:
    """Raise HypercolumnsError unless the value of a setting is a number of at least `least`, and below `below`."""
    most = math.inf if below is None else below
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most or value == below:
        limit = "" if below is None else f" and below {below:g}"
        raise HypercolumnsError(f"{setting}={value} must be a number of at least {least:g}{limit}")


def check_share(setting: str, value: object, most: float = 1.0) -> None:
    """Raise HypercolumnsError unless the value of a setting is a number from 0 to `most`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise HypercolumnsError(f"{setting}={value} must be a number from 0 to {most:g}")


def check_name(setting: str, value: object) -> None:
    """Raise HypercolumnsError unless the value of a setting can be the name of a folder, within the one it is for."""
    if not isinstance(value, str) or not value.isprintable() or value in ("", ".", "..") or set(value) & set("/\\"):
        raise HypercolumnsError(f"{setting}={value!r} must be a plain name for a folder (a number in quotes)")


def check_switch(setting: str, value: object) -> None:
    """Raise HypercolumnsError unless the value of a setting is true or false."""
    if not isinstance(value, bool):
        raise HypercolumnsError(f"{setting}={value} must be true or false")


def printable(text: object) -> str:
    """The text on one line: what moves the cursor, or can't be encoded, is written as in a Python string.

    A file's name may hold anything but a slash and a null byte.
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))

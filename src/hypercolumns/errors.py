"""The one error class for faults that the user can mend."""

import math
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

OUT_OF_MEMORY = (
    r"DefaultCPUAllocator: (can't|not enough)|(CUDA|CUDA error:|MPS backend) out of memory|CU\w+_STATUS_ALLOC_FAILED"
)
MAX_LISTED_NAMES = 10  # in a message
MAX_REASON = 200  # characters of a library's reason; some append all they know


class HypercolumnsError(Exception):
    """A fault in the input, the settings or the files, not in the program.

    The message is one line: what is wrong, where (file or setting, and the value), and what to do.
    It is raised where the fault is seen and printed, without a traceback, by the entry points alone.

    >>> try:
    ...     Backbone("no_network", ["features.0"])
    ... except HypercolumnsError as error:
    ...     print(str(error).partition(";")[0])
    network=no_network is not known
    """

    def __init__(self, message: str) -> None:
        """Say it; of a message that comes out of a worker process, at the end of a traceback, only that end is kept."""
        if message.startswith(f"Caught {type(self).__name__} in "):
            lines = [line for line in message.splitlines() if line.strip()]
            message = lines[-1].removeprefix(f"{__name__}.{type(self).__name__}: ")
        super().__init__(escape_control_chars(message))


class ArgumentError(HypercolumnsError):
    """A wrong argument of a function or class; the message begins with the argument's own name.

    Whoever reads arguments from settings puts the rest of a setting's name before it, by `setting_prefix`.
    """


@contextmanager
def setting_prefix(prefix: str) -> Iterator[None]:
    """Turn an ArgumentError into an error of a setting, such as `classifier.hidden` by the prefix `classifier.`.

    Raises:
        HypercolumnsError: if an ArgumentError is raised inside.
    """
    try:
        yield
    except ArgumentError as error:
        raise HypercolumnsError(f"{prefix}{error}") from error


class MissingInputError(HypercolumnsError):
    """There is nothing yet that a stage could start from; `stage` is the one that makes it."""

    def __init__(self, message: str, stage: str) -> None:
        super().__init__(message)
        self.stage = stage


class BadDataError(HypercolumnsError):
    """A check that was asked for has found what it looked for; the command ends with exit code 1."""


class InvalidFileError(HypercolumnsError):
    """An image or a mask of a data set can't be used; its message names the file."""


class StoreError(HypercolumnsError):
    """A store of samples is unfinished or damaged."""


class UnreadableError(HypercolumnsError):
    """The system does not let a file be read: what it holds is not known, and another time it may well be read."""


def summarize_error(error: BaseException) -> str:
    """What a library says went wrong, on one line and not too long, to stand in brackets in a message of ours."""
    if isinstance(error, pickle.UnpicklingError):  # torch's advice is to read it all the same
        return "it is no file of torch.save, or holds objects, which are not read, for they could execute anything"
    if isinstance(error, HypercolumnsError):
        return str(error)
    if isinstance(error, KeyError):  # whose text is the key alone
        return f"no {error}"
    text = " ".join(re.sub(r"\x1b\[[\d;]*m", "", str(error)).split()) or type(error).__name__
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]} ..."


def class_names(error: BaseException) -> set[str]:
    """The names of its classes, where to import the library that they are of would take seconds."""
    return {kind.__name__ for kind in type(error).__mro__}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it was memory that was wanting, the machine's or a GPU's: no fault of what was being read."""
    return bool({"MemoryError", "OutOfMemoryError"} & class_names(error) or re.search(OUT_OF_MEMORY, str(error)))


def is_int(value: object, minimum: int) -> bool:
    """Whether a value is an integer of at least `minimum`; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def check_int(name: str, value: object, minimum: int) -> None:
    """Check an argument that must be an integer.

    Raises:
        ArgumentError: unless the value is an integer of at least `minimum`.
    """
    if not is_int(value, minimum):
        raise ArgumentError(f"{name}={value} must be a whole number of at least {minimum}")


def check_number(name: str, value: object, minimum: float = 0.0, below: float | None = None) -> None:
    """Check an argument that must be a number.

    Raises:
        ArgumentError: unless the value is a number of at least `minimum`, and below `below` if that is given.
    """
    maximum = math.inf if below is None else below
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not minimum <= value <= maximum or value == below:  # type: ignore[operator]
        limit = "" if below is None else f" and below {below:g}"
        raise ArgumentError(f"{name}={value} must be a number of at least {minimum:g}{limit}")


def check_fraction(name: str, value: object, maximum: float = 1.0) -> None:
    """Check an argument that must be a number from 0 to `maximum`.

    Raises:
        ArgumentError: unless it is one.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise ArgumentError(f"{name}={value} must be a number from 0 to {maximum:g}")


def check_folder_name(name: str, value: object) -> None:
    """Check an argument that must be the name of a folder within another one.

    Raises:
        ArgumentError: unless it is a printable name without separators.
    """
    if not isinstance(value, str) or not value.isprintable() or value in ("", ".", "..") or set(value) & set("/\\"):
        raise ArgumentError(f"{name}={value!r} must be a plain name for a folder (a number in quotes)")


def check_pattern(name: str, value: object) -> None:
    """Check an argument that must be a regular expression.

    Raises:
        ArgumentError: unless it is one.
    """
    if not isinstance(value, str):
        raise ArgumentError(f"{name}={value} must be a regular expression, as text (in quotes)")
    try:
        re.compile(value)
    except re.error as error:
        raise ArgumentError(f"{name}={value} is not a regular expression ({error})") from error


def check_bool(name: str, value: object) -> None:
    """Check an argument that must be true or false.

    Raises:
        ArgumentError: unless it is a bool.
    """
    if not isinstance(value, bool):
        raise ArgumentError(f"{name}={value} must be true or false")


def escape_control_chars(text: object) -> str:
    """The text on one line: what moves the cursor, or can't be encoded, is written as in a Python string.

    A file's name may hold anything but a slash and a null byte.
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))


def shorten_list(items: Sequence[str]) -> str:
    """The first ten of some names, and how many more there are."""
    more = f" and {len(items) - MAX_LISTED_NAMES} more" if len(items) > MAX_LISTED_NAMES else ""
    return ", ".join(items[:MAX_LISTED_NAMES]) + more

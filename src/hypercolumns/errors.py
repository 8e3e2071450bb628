"""Errors that the user can fix, and functions that check an argument and raise such an error."""

import math
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

OUT_OF_MEMORY = (  # matches the messages of PyTorch's errors when memory runs out
    r"DefaultCPUAllocator: (can't|not enough)|(CUDA|CUDA error:|MPS backend) out of memory|CU\w+_STATUS_ALLOC_FAILED"
)
MAX_LISTED_NAMES = 10  # a message lists at most this many names, see `shorten_list`
MAX_REASON = 200  # a message quotes at most this many characters of a library's error


class HypercolumnsError(Exception):
    """An error in the input, the settings or the files, rather than a bug of the program.

    The message is one line: what is wrong, where (the file, or the setting and its value), and what to do.
    The code that detects the problem raises the error. Only the entry points, `train.py` and `predict.py`,
    print the message, without a traceback.

    >>> from hypercolumns import Backbone, HypercolumnsError
    >>> try:
    ...     Backbone("no_network", ["features.0"])
    ... except HypercolumnsError as error:
    ...     print(str(error).partition(";")[0])
    network=no_network is not known
    """

    def __init__(self, message: str) -> None:
        """Escape the unprintable characters in the message, so that the message stays on one line.

        If a DataLoader worker raised the error, the DataLoader puts a traceback into the message. Remove it first.
        """
        if message.startswith(f"Caught {type(self).__name__} in "):
            lines = [line for line in message.splitlines() if line.strip()]
            message = lines[-1].removeprefix(f"{__name__}.{type(self).__name__}: ")
        super().__init__(escape_control_chars(message))


class ArgumentError(HypercolumnsError):
    """The value of an argument is invalid. The message begins with the argument's name.

    If the value comes from a setting, `setting_prefix` completes the name: `hidden` becomes `classifier.hidden`.
    """


class HypercolumnsWarning(UserWarning):
    """A warning that is meant for the user. A command prints its message as one line."""


class DataNotFoundError(ArgumentError):
    """A folder lacks the images or the annotations that are looked for. It may hold others."""


@contextmanager
def setting_prefix(prefix: str) -> Iterator[None]:
    """Put a prefix before the message of an ArgumentError, so that the message names a setting.

    With the prefix `classifier.`, an error about the argument `hidden` names the setting `classifier.hidden`. A value
    that the message recommends for this argument (`hidden=8`) gets the prefix, too.

    Args:
        prefix: the part of the setting's name before the argument's name, such as `classifier.`.

    Raises:
        HypercolumnsError: with the completed message, if the `with` block raises an ArgumentError.
    """
    try:
        yield
    except ArgumentError as error:
        raise HypercolumnsError(_with_prefix(prefix, str(error))) from error


def _with_prefix(prefix: str, message: str) -> str:
    """Put a prefix before a message and, unless the prefix ends in `=`, before later values of the same argument."""
    argument = re.match(r"\w+(?==)", message)
    if argument is None or prefix.endswith("="):
        return f"{prefix}{message}"
    recommended = rf" (?={argument[0]}=)"
    return prefix + re.sub(recommended, lambda _: f" {prefix}", message)


class MissingInputError(HypercolumnsError):
    """The input of a stage does not exist yet. The attribute `stage` names the earlier stage that makes this input."""

    def __init__(self, message: str, stage: str) -> None:
        super().__init__(message)
        self.stage = stage


class BadDataError(HypercolumnsError):
    """Stage validate found images or masks that can't be used. The command then ends with exit code 1."""


class InvalidFileError(HypercolumnsError):
    """An image or mask of a data set can't be used; the message names the file."""


class StoreError(HypercolumnsError):
    """A store of samples is unfinished or damaged."""


class UnreadableError(HypercolumnsError):
    """The operating system could not read a file, for example because of the file's permissions or an I/O error.

    The contents of the file may be valid. Therefore data.on_bad=skip never leaves out an image because of this error.
    """


def summarize_error(error: BaseException) -> str:
    """Describe an error in one line, for a message that quotes this line in brackets.

    The text of a library's error is cut off after 200 characters. The message of a HypercolumnsError stays whole.
    """
    if isinstance(error, pickle.UnpicklingError):  # torch's text advises loading the file unsafely
        return (
            "torch.save did not write this file, or the file holds Python objects, which are not loaded because they "
            "could run code"
        )
    if isinstance(error, HypercolumnsError):
        return str(error)
    if isinstance(error, KeyError):  # the text of a KeyError is only the key
        return f"no {error}"
    text = " ".join(re.sub(r"\x1b\[[\d;]*m", "", str(error)).split()) or type(error).__name__
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]} ..."


def class_names(error: BaseException) -> set[str]:
    """Return the names of an error's class and of its base classes.

    By these names, a caller can recognise an error without importing the library that defines the error's class. Such
    an import can take seconds.
    """
    return {kind.__name__ for kind in type(error).__mro__}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that main memory or GPU memory ran out."""
    return bool({"MemoryError", "OutOfMemoryError"} & class_names(error) or re.search(OUT_OF_MEMORY, str(error)))


def is_int(value: object, minimum: int) -> bool:
    """Whether a value is an integer of at least `minimum`; a bool does not count as an integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def check_int(name: str, value: object, minimum: int) -> None:
    """Check an argument that must be an integer.

    Args:
        name: the argument's name, for the message.
        value: the argument's value.
        minimum: the smallest valid value.

    Raises:
        ArgumentError: unless the value is an integer of at least `minimum`.
    """
    if not is_int(value, minimum):
        raise ArgumentError(f"{name}={value} must be a whole number of at least {minimum}")


def check_number(name: str, value: object, minimum: float = 0.0, below: float | None = None) -> None:
    """Check an argument that must be a number.

    Args:
        name: the argument's name, for the message.
        value: the argument's value.
        minimum: the smallest valid value.
        below: the value must be smaller than this number. None: there is no upper limit, and infinity is valid.

    Raises:
        ArgumentError: unless the value is a number of at least `minimum` and, if `below` is given, smaller than
            `below`. NaN and bools are invalid.
    """
    maximum = math.inf if below is None else below
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not minimum <= value <= maximum or value == below:  # type: ignore[operator]
        limit = "" if below is None else f" and below {below:g}"
        raise ArgumentError(f"{name}={value} must be a number of at least {minimum:g}{limit}")


def check_fraction(name: str, value: object, maximum: float = 1.0) -> None:
    """Check an argument that must be a number from 0 to `maximum`.

    Args:
        name: the argument's name, for the message.
        value: the argument's value.
        maximum: the largest valid value.

    Raises:
        ArgumentError: unless the value is a number in [0, maximum].
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise ArgumentError(f"{name}={value} must be a number from 0 to {maximum:g}")


def check_folder_name(name: str, value: object) -> None:
    """Check an argument whose value must be the name of one folder, not a path.

    Raises:
        ArgumentError: unless the value is a printable string without slashes and backslashes. The values "", "." and
            ".." are invalid, too.
    """
    if not isinstance(value, str) or not value.isprintable() or value in ("", ".", "..") or set(value) & set("/\\"):
        raise ArgumentError(
            f"{name}={value!r} must be a folder name without slashes, and not . or .. (if the name is a number, put it "
            f"in quotes)"
        )


def check_pattern(name: str, value: object) -> None:
    """Check an argument that must be a regular expression.

    Raises:
        ArgumentError: unless the value is a string that `re.compile` accepts.
    """
    if not isinstance(value, str):
        raise ArgumentError(f"{name}={value} must be a regular expression, given as text in quotes")
    try:
        re.compile(value)
    except re.error as error:
        raise ArgumentError(f"{name}={value} is not a regular expression ({error})") from error


def check_bool(name: str, value: object) -> None:
    """Check an argument that must be true or false.

    Raises:
        ArgumentError: unless the value is a bool.
    """
    if not isinstance(value, bool):
        raise ArgumentError(f"{name}={value} must be true or false")


def escape_control_chars(text: object) -> str:
    """Escape the unprintable characters of a text as in a Python string literal, so that the text stays on one line.

    A message can contain the name of a file, and such a name can contain line breaks.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Check an argument that must be one of some choices.

    Args:
        name: the argument's name, for the message.
        value: the value to check.
        choices: the valid values.

    Raises:
        ArgumentError: unless the value is one of the choices.
    """
    if value not in choices:
        raise ArgumentError(f"{name}={value} must be one of {', '.join(choices)}")


def shorten_list(items: Sequence[str], separator: str = ", ") -> str:
    """Join names. If there are more than ten, list the first ten and append `and <number> more`."""
    more = f" and {len(items) - MAX_LISTED_NAMES} more" if len(items) > MAX_LISTED_NAMES else ""
    return separator.join(items[:MAX_LISTED_NAMES]) + more

"""Which images belong together, by their ids: frames of one drive, pictures of one patient."""

import re
from collections.abc import Sequence

from hypercolumns.errors import ArgumentError

ImageGroup = tuple[str | None, ...]


def group_ids(ids: Sequence[str], pattern: str, name: str) -> list[ImageGroup]:
    """The group of each id: those that agree in what the regular expression finds in them have the same.

    That is all that it matches, or its parts in brackets.

    Args:
        ids: of images.
        pattern: the regular expression.
        name: what the error calls it.

    Returns:
        A group for each id.

    Raises:
        ArgumentError: if the pattern is no regular expression, or does not occur in an id.
    """
    if not isinstance(pattern, str):
        raise ArgumentError(f"{name}={pattern} must be a regular expression; put it in quotes within quotes")
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ArgumentError(f"{name}={pattern} is not a regular expression ({error})") from error
    found = [expression.search(id) for id in ids]
    for id, match in zip(ids, found, strict=True):
        if match is None:
            raise ArgumentError(f"{name}={pattern} does not occur in {id}; it must in the id of every image")
    return [match.groups() or (match[0],) for match in found if match is not None]


def group_name(group: ImageGroup) -> str:
    """As people write it."""
    return "-".join(part or "" for part in group)

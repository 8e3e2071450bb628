"""Which images belong together, by their ids: frames of one drive, pictures of one patient."""

import re
from collections.abc import Sequence

from hypercolumns.errors import ArgumentError, check_pattern

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
    check_pattern(name, pattern)
    found = [re.search(pattern, id) for id in ids]
    for id, match in zip(ids, found, strict=True):
        if match is None:
            raise ArgumentError(f"{name}={pattern} does not occur in {id}; it must in the id of every image")
    return [match.groups() or (match[0],) for match in found if match is not None]


def group_name(group: ImageGroup) -> str:
    """As people write it."""
    return "-".join(part or "" for part in group)

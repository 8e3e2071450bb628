"""Groups of images, such as the frames of one drive, found by a regular expression on the images' ids."""

import re
from collections.abc import Sequence

from hypercolumns.errors import ArgumentError, check_pattern

ImageGroup = tuple[str | None, ...]


def group_ids(ids: Sequence[str], pattern: str, name: str) -> list[ImageGroup]:
    """Determine the group of each image from its id, by a regular expression.

    The group is the tuple of the texts that the pattern's capturing groups match; a capturing group that takes no part
    in the match gives None. A pattern without capturing groups gives a tuple of one text, the whole match.

    Args:
        ids: the ids of the images.
        pattern: the regular expression. The match may begin anywhere in an id.
        name: what error messages call the pattern, such as `group_pattern`.

    Returns:
        The group of each id, in the same order.

    Raises:
        ArgumentError: if the pattern is not a valid regular expression, or does not match every id.
    """
    check_pattern(name, pattern)
    matches = [re.search(pattern, id) for id in ids]
    for id, match in zip(ids, matches, strict=True):
        if match is None:
            raise ArgumentError(f"{name}={pattern} does not match image id {id}; it must match every id")
    return [match.groups() or (match[0],) for match in matches if match is not None]


def group_name(group: ImageGroup) -> str:
    """Name a group as in `val_group`: its parts, joined by hyphens. A part that is None becomes an empty text."""
    return "-".join(part or "" for part in group)

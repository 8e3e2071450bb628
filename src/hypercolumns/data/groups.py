"""Groups of images by their ids, such as the frames of one drive or the pictures of one patient."""

import re
from collections.abc import Sequence

from hypercolumns.errors import ArgumentError, check_pattern

ImageGroup = tuple[str | None, ...]


def group_ids(ids: Sequence[str], pattern: str, name: str) -> list[ImageGroup]:
    """Determine the group of each image by a regular expression on its id.

    The group is the tuple of the pattern's capturing groups or, if the pattern has none, the whole match.

    Args:
        ids: the ids of the images.
        pattern: the regular expression, which may match anywhere in an id.
        name: the argument's name in the error message.

    Returns:
        The group of each id, in the same order.

    Raises:
        ArgumentError: if the pattern is not a valid regular expression, or does not match an id.
    """
    check_pattern(name, pattern)
    matches = [re.search(pattern, id) for id in ids]
    for id, match in zip(ids, matches, strict=True):
        if match is None:
            raise ArgumentError(f"{name}={pattern} does not match image id {id}; it must match every id")
    return [match.groups() or (match[0],) for match in matches if match is not None]


def group_name(group: ImageGroup) -> str:
    """Join the parts of a group by hyphens, for display and for `val_group`."""
    return "-".join(part or "" for part in group)

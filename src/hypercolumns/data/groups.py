"""Find groups of images by a regular expression on the images' ids. A group can be the frames of one drive."""

import re
from collections.abc import Sequence

from hypercolumns.errors import ArgumentError, check_pattern

ImageGroup = tuple[str | None, ...]  # what identifies a group, see `group_ids`


def group_ids(ids: Sequence[str], pattern: str, name: str) -> list[ImageGroup]:
    """Find the group of each image by matching a regular expression to the image's id.

    A tuple identifies a group of images. It holds the text that each capturing group of the pattern matches, or None
    for a capturing group that takes no part in the match. If the pattern has no capturing groups, the tuple holds one
    text, the whole match.

    Args:
        ids: the ids of the images.
        pattern: the regular expression. The match can begin anywhere in an id.
        name: the name of the pattern in error messages, such as `group_pattern`.

    Returns:
        One tuple per id, in the order of `ids`.

    Raises:
        ArgumentError: if the pattern is not a valid regular expression, or if an id does not match it.
    """
    check_pattern(name, pattern)
    matches = [re.search(pattern, id) for id in ids]
    for id, match in zip(ids, matches, strict=True):
        if match is None:
            raise ArgumentError(
                f"{name}={pattern} does not match image id {id}; the pattern must match the ids of all images"
            )
    return [match.groups() or (match[0],) for match in matches if match is not None]


def group_name(group: ImageGroup) -> str:
    """Return the name that the setting `val_group` uses for a group: the texts of its tuple, joined by hyphens.

    A None in the tuple counts as an empty text.
    """
    return "-".join(part or "" for part in group)

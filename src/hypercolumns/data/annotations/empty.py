"""Images that an annotation file lists without any object: are they without objects, or not annotated yet?"""

from hypercolumns.errors import check_choice

EMPTY = ("background", "unlabelled")  # the setting `data.empty`


def is_annotated(objects: int, empty: str) -> bool:
    """Whether an image that an annotation file lists is annotated.

    Args:
        objects: the number of its objects.
        empty: `background`: an image without objects is annotated; `unlabelled`: it is not annotated yet.

    Raises:
        ArgumentError: if `empty` is another text.
    """
    check_choice("empty", empty, EMPTY)
    return objects > 0 or empty == "background"


def empty_notes(count: int, total: int, empty: str, what: str = "no annotation") -> list[str]:
    """Count for the user the images that are listed without objects.

    Args:
        count: the number of such images.
        total: the number of all listed images.
        empty: the setting, see `is_annotated`.
        what: what such an image has.

    Returns:
        The line; none if there are no such images, or if they are not annotated.
    """
    if not count or empty != "background":
        return []
    return [
        f"{count} of {total} images have {what} and count as images without objects; if they are not annotated yet: "
        f"data.empty=unlabelled"
    ]

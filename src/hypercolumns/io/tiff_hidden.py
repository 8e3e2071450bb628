"""Images in a TIFF that are not in its list of pages."""

import json
import math
import re
from collections.abc import Sequence

from hypercolumns.io.tiff_tags import Tags

WIDTH, HEIGHT, DESCRIPTION, SAMPLES, SUB_IFDS = 256, 257, 270, 277, 330  # the numbers of tags
HIDDEN_TAGS = {WIDTH, HEIGHT, DESCRIPTION, SAMPLES, SUB_IFDS}  # the tags that `hidden_images` needs


def hidden_images(pages: Sequence[Tags], only_copies: bool) -> str:
    """Describe images of a TIFF that are not in its list of pages.

    ImageJ and tifffile can store a stack behind a single page, and count its images only in the text ImageDescription.
    In a DNG file, the first page is a thumbnail, whose tag SubIFDs leads to the image itself.

    Args:
        pages: the tags of all pages.
        only_copies: whether all pages are marked as smaller copies of an image.

    Returns:
        What the file holds and what to do, for a message; empty if all images are pages.
    """
    images = _described_images(pages[0])
    if images > len(pages):
        return (
            f"is a TIFF whose tag ImageDescription counts {images} images, but has only {len(pages)} in "
            f"its list of pages; save it with one page for each image"
        )
    if only_copies and any(SUB_IFDS in tags for tags in pages):
        return (
            "is a TIFF whose pages are only thumbnails, with the image itself in a SubIFD, as in a DNG file; convert "
            "it to a TIFF whose first page is the image"
        )
    return ""


def _described_images(tags: Tags) -> int:
    """Return the number of images that the description of the first page counts; 0 if it counts none."""
    text = tags.get(DESCRIPTION, "")
    if not isinstance(text, str):
        return 0
    if text.startswith("ImageJ="):
        match = re.search(r"^images=(\d{1,9})\s*$", text, re.MULTILINE)
        return int(match[1]) if match else 0
    try:
        said = json.loads(text)
        if not said.get("truncated"):
            return 0
        pixels = math.prod(int((*tags.get(number, ()), 1)[0]) for number in (WIDTH, HEIGHT, SAMPLES))
        return math.prod(map(int, said["shape"])) // max(1, pixels)
    except (ValueError, TypeError, AttributeError, LookupError):  # any other text
        return 0

"""Find out on which form of an image objects were drawn, if the image has an EXIF orientation.

Some programs show such an image turned, others as it is stored. Training reads it turned, unless the mask fits only the
stored form.
"""

from pathlib import Path

from hypercolumns.errors import ArgumentError, HypercolumnsError, check_choice
from hypercolumns.io.images import PixelShape, image_size
from hypercolumns.io.orientation import UPRIGHT, turned_image

ORIENTATIONS = ("auto", "applied", "ignored")  # the setting `data.orientation`


def drawn_form(
    path: Path, image: Path, size: PixelShape, orientation: str, has_objects: bool
) -> tuple[PixelShape, int]:
    """Find out on which form of an image objects were drawn.

    Args:
        path: the annotation file, for messages.
        image: the image file.
        size: the (height, width) that the annotation file names. Any other tuple: it names none.
        orientation: the form that objects were drawn on if the size does not tell it: `applied`: the turned image;
            `ignored`: the image as it is stored; `auto`: not known.
        has_objects: whether there are any objects, which would be misplaced on the other form.

    Returns:
        The (height, width) on which the objects are drawn, () if it is not known; and the orientation by which the
        drawn mask must then be turned.

    Raises:
        ArgumentError: if `orientation` is `auto`, and the size does not tell the form.
    """
    check_choice("orientation", orientation, ORIENTATIONS)
    known = len(size) == 2
    try:
        stored = turned_image(image)
        if stored is None:
            return size if known else image_size(image), UPRIGHT
    except HypercolumnsError:  # the check of the images reports it
        return size if known else (), UPRIGHT
    tells = stored.upright_size != stored.size
    if known and (tells or size != stored.size):
        return size, UPRIGHT  # images are read in the form that has this size
    if orientation == "auto" and has_objects:
        reason = "names a size that both forms have" if known else "does not name the size of the image"
        raise ArgumentError(
            f"orientation=auto: {image} is stored with the EXIF orientation {stored.orientation}, and {path} {reason}, "
            f"so it is not known on which form the objects were drawn; set data.orientation=applied if the tool "
            f"showed images turned, as browsers and labelme do, or data.orientation=ignored if it showed them as they "
            f"are stored"
        )
    if orientation != "ignored":
        return stored.upright_size, UPRIGHT
    return stored.size, UPRIGHT if tells else stored.orientation

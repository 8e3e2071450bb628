"""CVAT's format `Segmentation mask 1.1`, which Datumaro calls `voc_segmentation`.

The files lie in the folder `cvat`. For each image, `SegmentationClass` holds a PNG with the colours of the classes, and
`SegmentationObject` a PNG with a colour for each object. `labelmap.txt` lists the classes, and
`ImageSets/Segmentation/default.txt` the images. Without the PNGs of the objects, CVAT would take the background for an
object, and refuse the files unless the task has a label for it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hypercolumns.errors import HypercolumnsError, shorten_list
from hypercolumns.io.files import atomic_write
from hypercolumns.labels import Colour, Palette, is_background, voc_palette
from hypercolumns.prediction.sources import Source

FOLDER = "cvat"
CLASS_FOLDER, OBJECT_FOLDER = f"{FOLDER}/SegmentationClass", f"{FOLDER}/SegmentationObject"
LABEL_MAP, IMAGE_LIST = f"{FOLDER}/labelmap.txt", f"{FOLDER}/ImageSets/Segmentation/default.txt"
NO_OBJECT: Colour = (0, 0, 0)


def object_palette(classes: Sequence[str]) -> Palette:
    """Return the colour of each class in the PNGs of the objects, by class index.

    The pixels of a class are one object, even if they are not connected. Objects have the colours that Pascal VOC gives
    to the numbers from 1. Pixels of the background are no object: they are black.
    """
    colours = voc_palette(len(classes) + 1)[1:]
    return tuple(NO_OBJECT if is_background(name) else colour for name, colour in zip(classes, colours, strict=True))


def check_cvat(classes: Sequence[str], palette: Palette, sources: Iterable[Source]) -> None:
    """Check that the format can hold the names and colours of the classes, and the names of the images.

    Args:
        classes: the names of the classes.
        palette: the colour of each class, by class index.
        sources: the image files to predict.

    Raises:
        HypercolumnsError: if the line of a class in `labelmap.txt` would be misread, two classes have one colour, or
            the name of an image can't be written to the list of images.
    """
    unclear = [name for name in classes if ":" in name or _is_misread(name)]
    if unclear:
        raise HypercolumnsError(
            f"outputs.cvat=true can't write the class names {shorten_list([repr(name) for name in unclear])}: in "
            f"labelmap.txt, a name can't contain a colon, begin with # or have white space at its ends; train with "
            f"other class names, or set outputs.cvat=false"
        )
    by_colour: dict[Colour, list[str]] = {}
    for name, colour in zip(classes, palette, strict=True):
        by_colour.setdefault(colour, []).append(name)
    shared = [f"{' and '.join(names)} {colour}" for colour, names in by_colour.items() if len(names) > 1]
    if shared:
        raise HypercolumnsError(
            f"outputs.cvat=true tells classes by their colours, but some classes have the same colour: "
            f"{shorten_list(shared)}; train with a palette of different colours, or set outputs.cvat=false"
        )
    for source in sources:
        if source.name != source.file.removesuffix(Path(source.file).suffix):
            raise HypercolumnsError(
                f"outputs.cvat=true names images without their suffix, so that {source.file} can't be told from "
                f"another input; rename one of the images, or predict them into two folders"
            )
        if _is_misread(source.name):
            raise HypercolumnsError(
                f"outputs.cvat=true can't list the image {source.file}: in default.txt, a name can't begin with #, "
                f"contain a line break or have white space at its ends; rename the image"
            )


def write_label_map(path: Path, classes: Sequence[str], palette: Palette) -> None:
    """Write `labelmap.txt`, with a line for each class.

    Args:
        path: the file to write.
        classes: the names of the classes. `check_cvat` checks them.
        palette: the colour of each class, by class index.
    """
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in zip(classes, palette, strict=True)]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(["# label:color_rgb:parts:actions", *lines, ""]), encoding="utf-8")


def write_image_list(path: Path, names: Iterable[str]) -> None:
    """Write `default.txt`, with the name of an image on each line. `check_cvat` checks the names."""
    with atomic_write(path) as temporary:
        # The name of an image is a file name, which can contain bytes that are not UTF-8.
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8", errors="surrogateescape")


def _is_misread(name: str) -> bool:
    """Whether a line that begins with this name would be skipped as a comment, stripped or broken."""
    return name.startswith("#") or name != name.strip() or len(name.splitlines()) > 1

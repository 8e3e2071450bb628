"""Name the forms of annotations that are not read, and say what to export instead."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from hypercolumns.io.files import glob_files

START = 1 << 12  # bytes: a file is recognised by its first ones
MAX_FILES = 2000  # files that are looked at
BOXES = "boxes, which are no masks: annotate polygons or brushes, and export COCO's JSON or masks"
AS_COCO = "export COCO's JSON, and read it by data=coco"


def other_format(root: Path) -> str | None:
    """Recognise annotations that this program does not read.

    Args:
        root: a folder, whose files and folders of two levels are looked at.

    Returns:
        What the files are and what to export instead, with the path of one of the files; None if nothing is recognised.
        It does not look for the masks of `misleading_format`.
    """
    for path in islice(_files(root), MAX_FILES):
        start = _start(path)
        for fits, what in FORMATS:
            if fits(path, start):
                return f"{path} is of {what}"
    return None


def misleading_format(root: Path) -> str | None:
    """Recognise masks that are not read, although their files look like masks that are.

    Returns:
        The same as `other_format` does.
    """
    for patterns, what in BY_PLACE:
        first = next(iter(glob_files(root, *patterns)), None)
        if first is not None:
            return f"{first} is of {what}"
    return None


def _files(root: Path) -> Iterator[Path]:
    for pattern in ("*", "*/*", "*/*/*"):
        yield from (path for path in glob_files(root, pattern) if path.is_file())


def _start(path: Path) -> str:
    """Return the beginning of a text file; "" for files that are not texts of annotations."""
    if path.suffix.lower() not in (".xml", ".json", ".txt", ".ndjson"):
        return ""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(START)
    except OSError:
        return ""


def _suffix(*suffixes: str) -> Callable[[Path, str], bool]:
    return lambda path, start: path.suffix.lower() in suffixes


def _text(suffix: str, pattern: str) -> Callable[[Path, str], bool]:
    return lambda path, start: path.suffix.lower() == suffix and re.search(pattern, start) is not None


# Forms that are recognised by the paths of files: patterns, and what they are.
BY_PLACE = (
    (
        [f"{above}task-*-annotation-*-by-*-tag-*.png" for above in ("", "*/", "*/*/")],
        "Label Studio's PNG export, which does not name the images; export JSON, and read it by data=label_studio",
    ),
    (
        [f"images/{above}t*/*/*/ADE_*_seg.png" for above in ("", "ADE/")],
        "the full ADE20K, whose colours name thousands of objects; download its scene parsing benchmark, "
        "ADEChallengeData2016, and read it by data=ade20k",
    ),
    (
        [f"{above}PixelLabelData*/Label_*.png" for above in ("", "*/")],
        "MATLAB's labelers, which number the masks; only the groundTruth object names the image of each: give each "
        "mask the name of its image, or list the paths of an image and of its mask on each line of data.train and "
        "data.val",
    ),
)
FORMATS: tuple[tuple[Callable[[Path, str], bool], str], ...] = (
    (
        _text(".xml", r"<annotations>\s*<version>"),
        "the form CVAT for images; export COCO 1.0 (read by data=coco) or Segmentation mask 1.1 (read by data=voc)",
    ),
    (_text(".xml", r"<annotation\b[\s\S]*<object>"), f"Pascal VOC's detection: {BOXES}"),
    (
        _text(".json", r'"dm_format_version"'),
        "Datumaro's own JSON; export coco_instances (read by data=coco) or voc_segmentation (read by data=voc)",
    ),
    (_text(".json", r'"_via_'), f"VIA (VGG Image Annotator); {AS_COCO}"),
    (
        _text(".json", r'"bitmap"|"geometryType"|"classTitle"'),
        "Supervisely's own JSON; export masks (the folder masks_machine), and read them by data=auto",
    ),
    (_text(".json", r'"schema_ref"|"darwin'), f"V7 Darwin; {AS_COCO}"),
    (_suffix(".ndjson"), f"Labelbox or another program that writes lines of JSON; {AS_COCO}"),
    (
        lambda path, start: path.suffix == ".txt" and re.match(r"\d+( [\d.e-]+){4,}\s*(\n|$)", start) is not None,
        f"YOLO; {AS_COCO}",
    ),
    (_suffix(".npy", ".npz"), "NumPy; save each mask as a PNG file of the values, such as by Pillow's Image.fromarray"),
    (_suffix(".mat"), "MATLAB; save each mask as a PNG file of the values"),
    (
        _suffix(".parquet", ".arrow", ".tfrecord", ".lmdb", ".h5", ".hdf5"),
        "a container of many images; save each image and each mask as a file",
    ),
)
